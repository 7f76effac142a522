//! What a command says and how it ends when what it was given is wrong.

use crate::{machine, shell, words};

#[test]
fn privileged_exit_codes_are_dockers() {
    let Some((host, image)) = machine() else { return };
    let run = |args: &str| host.hull(words(&format!("run --rm {image} {args}")));
    run("true").ok();
    run("false").fails(1);
    run("no-such-program").fails(127).says("no-such-program");
    run("/no/such/program").fails(127).says("/no/such/program");
    run("/etc/passwd").fails(126).says("/etc/passwd");
    run("/etc").fails(126).says("/etc");
    host.hull(shell(&format!("run --rm {image}"), "exit 42")).fails(42);
    host.hull(shell(&format!("run --rm {image}"), "sh -c 'kill -9 $$'; exit $?"))
        .fails(137);
    host.hull(shell(&format!("run --rm {image}"), "kill -TERM $$; sleep 1; exit 7"))
        .fails(7);
    assert_eq!(host.ok(["ps", "-aq"]), "", "--rm removes also what could not start");
}

#[test]
fn privileged_what_does_not_exist_is_named() {
    let Some((host, image)) = machine() else { return };
    host.hull(words(&format!("run --rm -u nosuch {image} true")))
        .fails(125)
        .says("nosuch");
    host.hull(words(&format!("run --rm -u root:nosuch {image} true")))
        .fails(125)
        .says("nosuch");
    host.hull(words(&format!("run --rm --network nosuch {image} true")))
        .fails(125)
        .says("nosuch");
    host.hull(words(&format!("run --rm --env-file /no/such/file {image} true")))
        .fails(125)
        .says("/no/such/file");
    host.hull(words(&format!("run --rm -v /no/such:relative {image} true")))
        .fails(125)
        .says("relative");
    for verb in ["rm", "stop", "start", "kill", "wait", "logs"] {
        host.hull([verb, "nosuch"]).fails(1).says("No such container: nosuch");
    }
    host.hull(["exec", "nosuch", "true"])
        .fails(1)
        .says("No such container: nosuch");
    host.hull(["inspect", "nosuch"]).fails(1).says("nosuch");
    host.hull(["rmi", "nosuch"]).fails(1).says("nosuch");
}

#[test]
fn privileged_unknown_images_and_references() {
    let Some((host, image)) = machine() else { return };
    let registry = host.registry().unwrap();
    host.hull(words(&format!("run --rm {registry}/nosuch true")))
        .fails(125)
        .says("Unable to find image");
    host.hull(["pull", &format!("{registry}/nosuch")])
        .fails(1)
        .says("nosuch");
    host.hull(["pull", &format!("{image}x")]).fails(1).says("latestx");
    host.hull(["run", "--rm", "UPPERcase", "true"])
        .fails(125)
        .says("invalid reference format");
    host.hull(["run", "--rm", "--pull", "never", &format!("{registry}/nosuch"), "true"])
        .fails(125)
        .says("nosuch");
    let unknown = format!("{registry}/busybox@sha256:{}", "0".repeat(64));
    host.hull(["pull", &unknown]).fails(1).says(&"0".repeat(64));
    host.hull(["pull", "127.0.0.1:1/busybox"]).fails(1).says("127.0.0.1:1");
}

#[test]
fn privileged_unknown_flags_are_refused_by_name() {
    let Some((host, image)) = machine() else { return };
    host.hull(words(&format!("run --no-such-flag {image} true")))
        .fails(125)
        .says("--no-such-flag");
    host.hull(words("ps --no-such-flag")).fails(125).says("--no-such-flag");
    // Docker has it, hull not.
    host.hull(words(&format!("run --use-api-socket {image} true")))
        .fails(125)
        .says("--use-api-socket");
}

#[test]
fn privileged_working_directories() {
    let Some((host, image)) = machine() else { return };
    let run = |folder: &str| host.hull(words(&format!("run --rm -w {folder} {image} pwd")));
    assert_eq!(
        run("/new/folder").ok().stdout,
        "/new/folder\n",
        "it is made, as Docker does"
    );
    assert_eq!(run("/home/app").ok().stdout, "/home/app\n");
    run("relative").fails(125).says("relative");
    let file = run("/etc/passwd");
    assert!(
        [125, 126, 127].contains(&file.code()),
        "a file is no working directory: {file:?}"
    );
}

#[test]
fn privileged_a_name_is_taken_once() {
    let Some((host, image)) = machine() else { return };
    let id = host.ok(["create", "--name", "one", &image]);
    host.hull(["run", "--name", "one", &image, "true"])
        .fails(125)
        .says("is already in use by container")
        .says(&id);
    assert_eq!(
        host.ok(["ps", "-aq", "--no-trunc"]),
        id,
        "the refused one leaves nothing"
    );
    host.hull(["run", "--name", "-bad", &image, "true"])
        .fails(125)
        .says("-bad");
    host.ok(["rm", "one"]);
    assert_eq!(
        host.ok(["run", "--rm", "--name", "one", &image, "echo", "free again"]),
        "free again"
    );
}

#[test]
fn privileged_a_name_is_taken_once_at_once() {
    let Some((host, image)) = machine() else { return };
    let start = || host.spawn(["run", "-d", "--name", "one", &image, "sleep", "1000"]);
    let all: Vec<_> = (0..12).map(|_| start()).collect();
    let codes: Vec<_> = all.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(125)).count(), 11, "{codes:?}");
    assert_eq!(host.ok(["ps", "-aq"]).lines().count(), 1);
}
