//! The rules' names, and what they are about.

/// A rule of `build --check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each has its description")]
pub enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JsonArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    UndefinedVar,
    WorkdirRelativePath,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
}

/// A rule, its name, the end of its page's address, and its description.
type Row = (Rule, &'static str, &'static str, &'static str);

const TABLE: [Row; 21] = [
    (
        Rule::StageNameCasing,
        "StageNameCasing",
        "stage-name-casing",
        "Stage names should be lowercase",
    ),
    (
        Rule::FromAsCasing,
        "FromAsCasing",
        "from-as-casing",
        "The 'as' keyword should match the case of the 'from' keyword",
    ),
    (
        Rule::NoEmptyContinuation,
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    ),
    (
        Rule::ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    (
        Rule::DuplicateStageName,
        "DuplicateStageName",
        "duplicate-stage-name",
        "Stage names should be unique",
    ),
    (
        Rule::ReservedStageName,
        "ReservedStageName",
        "reserved-stage-name",
        "Reserved words should not be used as stage names",
    ),
    (
        Rule::JsonArgsRecommended,
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    (
        Rule::MaintainerDeprecated,
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    (
        Rule::UndefinedArgInFrom,
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM command must use declared ARGs",
    ),
    (
        Rule::UndefinedVar,
        "UndefinedVar",
        "undefined-var",
        "Variables should be defined before their use",
    ),
    (
        Rule::WorkdirRelativePath,
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base \
         image changes",
    ),
    (
        Rule::MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    (
        Rule::LegacyKeyValueFormat,
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    (
        Rule::RedundantTargetPlatform,
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    (
        Rule::SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    (
        Rule::InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    (
        Rule::FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    (
        Rule::CopyIgnoredFile,
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    ),
    (
        Rule::InvalidDefinitionDescription,
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not \
         intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    ),
    (
        Rule::ExposeProtoCasing,
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocol in EXPOSE instruction should be lowercase",
    ),
    (
        Rule::ExposeInvalidFormat,
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future \
         release",
    ),
];

impl Rule {
    /// All rules.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(rule, ..)| *rule)
    }

    fn row(self) -> &'static Row {
        // The table is in the order of the enumeration, which a test holds.
        &TABLE[self as usize]
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What it is about.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.row().3
    }

    /// Docker's page about it.
    #[must_use]
    pub fn url(self) -> String {
        format!("https://docs.docker.com/go/dockerfile/rule/{}/", self.row().2)
    }

    /// Whether it is looked at only where that is asked for.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_its_row() {
        for (place, rule) in Rule::all().enumerate() {
            assert_eq!(rule as usize, place);
            assert!(rule.name().eq_ignore_ascii_case(&format!("{rule:?}")));
            assert_eq!(rule.url().matches('-').count() + 1, rule.row().2.split('-').count());
        }
    }
}
