use std::fs;

use hull_engine::container::{find, find_id, status};
use hull_engine::{Error, container};
use hull_spec::container::Status;

use crate::fixture::Host;

fn status_of(host: &Host, id: &str) -> Status {
    look(host, id).status
}

fn look(host: &Host, id: &str) -> status::Look {
    status::derive(&host.engine, &find(&host.engine, id).unwrap()).unwrap()
}

#[test]
fn a_life_is_followed_from_its_traces() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    assert_eq!(status_of(&host, &id), Status::Created);
    let mut running = host.start(&id, |_| {});
    let seen = look(&host, &id);
    assert_eq!((seen.status, seen.monitored), (Status::Running, true));
    assert_eq!(seen.live.as_ref(), Some(&running.live));
    // Whoever froze it may have been killed half-way: the cgroup tells.
    for (state, status) in [
        ("THAWED", Status::Running),
        ("FREEZING", Status::Paused),
        ("FROZEN", Status::Paused),
    ] {
        host.write_live(
            &id,
            &hull_spec::container::LiveState {
                cgroups: vec![host.freezer(&id, state)],
                ..running.live.clone()
            },
        );
        assert_eq!(status_of(&host, &id), status, "{state}");
    }
    host.write_live(&id, &running.live);
    // The process has ended; its monitor, which is us, has not said so yet.
    running.kill();
    assert_eq!(status_of(&host, &id), Status::Running);
    host.write_exit(&id, |exit| exit.exit_code = 7);
    fs::remove_dir_all(host.run(&id)).unwrap();
    let seen = look(&host, &id);
    assert_eq!(
        (seen.status, seen.exit.unwrap().exit_code, seen.live),
        (Status::Exited, 7, None)
    );
}

#[test]
fn a_killed_monitor_leaves_a_running_container() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    let mut running = host.start(&id, |_| {});
    running.unlock();
    let seen = look(&host, &id);
    assert_eq!((seen.status, seen.monitored), (Status::Running, false));
    // And then it ends, seen by nobody. What an earlier run left behind is not how this one ended.
    host.write_exit(&id, |exit| exit.exit_code = 3);
    running.kill();
    let seen = look(&host, &id);
    let exit = seen.exit.unwrap();
    assert_eq!((seen.status, exit.exit_code), (Status::Exited, 255));
    assert_eq!(exit.started_at, running.live.started_at);
    let finished: jiff::Timestamp = exit.finished_at.parse().unwrap();
    assert!(finished >= running.live.started_at.parse().unwrap());
}

#[test]
fn a_recycled_process_number_is_not_the_container() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    let mut running = host.start(&id, |live| live.start_ticks += 1);
    running.unlock();
    assert_eq!(status_of(&host, &id), Status::Exited);
}

#[test]
fn a_command_that_locks_a_dead_container_does_not_revive_it() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    // The lock is held, but by no monitor: the one in the state is gone.
    let mut running = host.start(&id, |live| live.monitor_pid = i32::MAX);
    assert_eq!(status_of(&host, &id), Status::Running);
    running.kill();
    let seen = look(&host, &id);
    assert_eq!((seen.status, seen.live, seen.monitored), (Status::Exited, None, true));
}

#[test]
fn a_monitor_that_will_start_it_again_is_restarting() {
    let host = Host::new();
    let id = host.create("web", |record| {
        record.host_config.restart_policy.name = "always".to_owned()
    });
    let mut running = host.start(&id, |live| live.restarting = true);
    assert_eq!(status_of(&host, &id), Status::Running);
    running.kill();
    host.write_exit(&id, |_| {});
    assert_eq!(status_of(&host, &id), Status::Restarting);
}

#[test]
fn a_failed_start_is_still_created() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    host.write_exit(&id, |exit| {
        exit.exit_code = 127;
        exit.error = "not found".to_owned();
        exit.started_at = String::new();
    });
    let seen = look(&host, &id);
    assert_eq!((seen.status, seen.exit.unwrap().exit_code), (Status::Created, 127));
}

#[test]
fn a_container_that_ran_when_the_host_went_down_has_exited() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    // overlayfs has made this at the first mount; everything under the run root is gone.
    fs::create_dir_all(host.dir(&id).join("work/work")).unwrap();
    let seen = look(&host, &id);
    assert_eq!((seen.status, seen.exit.unwrap().exit_code), (Status::Exited, 255));
}

#[test]
fn damaged_files_are_named() {
    let host = Host::new();
    let id = host.create("web", |_| {});
    fs::write(host.dir(&id).join("exit.json"), "{").unwrap();
    let record = find(&host.engine, "web").unwrap();
    let error = status::derive(&host.engine, &record).unwrap_err();
    assert!(error.to_string().contains("exit.json"), "{error}");
    fs::write(host.dir(&id).join("config.json"), "nonsense").unwrap();
    assert!(matches!(find(&host.engine, "web"), Err(Error::Damaged { .. })));
}

#[test]
fn containers_are_found_by_name_id_and_prefix() {
    let host = Host::new();
    let with_id = |name: &str, id: String| host.create(name, |record| record.id = id);
    let first = with_id("abc1", "abc1".to_owned() + &"0".repeat(60));
    let second = with_id("other", "abc2".to_owned() + &"0".repeat(60));
    let check = |name: &str, expected: Result<&str, &str>| {
        let found = find_id(&host.engine, name).map_err(|e| e.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{name}");
    };
    check("other", Ok(&second));
    check("/other", Ok(&second));
    check(&first, Ok(&first));
    check("abc2", Ok(&second));
    // The name of one wins over the beginning of an ID.
    check("abc1", Ok(&first));
    check("abc", Err("multiple IDs found with provided prefix: abc"));
    check("", Err("invalid container name or ID: value is empty"));
    check("ABC2", Err("No such container: ABC2"));
    for hostile in [
        "..",
        "../names/other",
        "/",
        "//other",
        "other/",
        ".",
        "names\0",
        "\u{e9}",
    ] {
        check(hostile, Err(&format!("No such container: {hostile}")));
    }
    // A name that was claimed by a command that was killed before it wrote the record.
    std::os::unix::fs::symlink("f".repeat(64), host.engine.names().join("claimed")).unwrap();
    check("claimed", Err("No such container: claimed"));
    // A link that leads elsewhere is not followed.
    std::os::unix::fs::symlink("../../etc", host.engine.names().join("astray")).unwrap();
    check("astray", Err("No such container: astray"));
    assert_eq!(container::ids(&host.engine).unwrap().len(), 2);
}
