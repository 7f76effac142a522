//! Pulls from real registries, honest and hostile.
