//! The promises of a laptop, each kept with the compose program that the person has.

use crate::person::{Person, USER};
use lab::{Error, expect, host, http, progress::Progress, wait};
use std::{
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    time::Duration,
};

/// Volumes of one service that runs as user 1000, whose folder `/data` the image has.
const ONE: &str = "services:\n  web:\n    image: box\n    network_mode: none\n    volumes: [/data]\n";

fn expect_file(path: &Path, content: &str) -> Result<(), Error> {
    let found = host::read(path)?;
    expect(found.trim() == content, format!("`{content}` in {}", path.display()), found)
}

fn expect_text(text: &str, part: &str) -> Result<(), Error> {
    expect(text.contains(part), format!("`{part}`"), text)
}

fn expect_nothing_at(path: &Path) -> Result<(), Error> {
    expect(path.symlink_metadata().is_err(), format!("nothing at {}", path.display()), "something")
}

/// User, group and mode of a file.
fn owner(path: &Path) -> Result<(u32, u32, String), Error> {
    let metadata = path.symlink_metadata().map_err(host::failed("look at", path))?;
    Ok((metadata.uid(), metadata.gid(), format!("{:o}", metadata.mode() & 0o7777)))
}

fn expect_owner(path: &Path, uid: u32, mode: &str) -> Result<(), Error> {
    let found = owner(path)?;
    let expected = (uid, uid, mode.to_owned());
    expect(found == expected, format!("{} of {expected:?}", path.display()), format!("{found:?}"))
}

pub(crate) fn files_outlive_down(person: &Person<'_>) -> Result<(), Error> {
    // The oldest form that people still have, with the spellings that Docker Compose 1.x doesn't clean.
    let file = "version: \"2.1\"\nservices:\n  web:\n    image: box\n    network_mode: none\n    volumes: [/data/, '//srv//x', 'named:/named']\n    user: '0'\nvolumes: {named: {labels: {a: b}}}\n";
    let folder = person.project("outlive", file)?;
    person.start(&folder)?;
    person.inside(&folder, "web", "echo kept | tee /data/a /srv/x/a /named/a")?;
    let places = ["web/data/a", "web/srv/x/a", "@volumes/named/a"];
    for how in [&["down", "--timeout", "0"][..], &["down", "--timeout", "0", "--volumes"]] {
        person.compose(&folder, how)?;
        for place in places {
            expect_file(&person.volume(&format!("outlive/{place}")), "kept")?;
        }
        person.start(&folder)?;
        let seen = person.inside(&folder, "web", "cat /data/a /srv/x/a /named/a")?;
        expect(seen == "kept\nkept\nkept", "all three files in the new container", seen)?;
    }
    // With the override as well, which knows the volumes.
    let overrides = person.home.join(".convox/overrides");
    let name = std::fs::read_dir(&overrides).map_err(host::failed("read", &overrides))?.flatten().next();
    let name = name.map(|entry| entry.path().to_string_lossy().into_owned()).unwrap_or_default();
    let files = ["-f", "docker-compose.yml", "-f", &name];
    let seen =
        person.compose(&folder, &[&files[..], &["run", "-T", "--rm", "web", "cat", "/data/a"]].concat())?;
    expect_text(&seen, "kept")?;
    person.compose(&folder, &[&files[..], &["down", "--timeout", "0", "--volumes"]].concat())?;
    let left = person.engine.docker(&["volume", "ls", "--quiet", "--filter", "name=convox-outlive"])?;
    expect(left.is_empty(), "no volume of the app in Docker", left)?;
    expect_file(&person.volume("outlive/web/data/a"), "kept")
}

pub(crate) fn the_example_app(person: &Person<'_>) -> Result<(), Error> {
    let file = host::read(&lab::place::repository().join("tests/example-app/docker-compose.yml"))?;
    let folder = person.project("example.app", &file)?;
    let told = person.start(&folder)?;
    expect_text(&told, "the app is `example-app`, from the folder's name")?;
    let page = || http::succeed("GET", "http://127.0.0.1/", &[], &[]);
    let answers = |what: &str| {
        wait::until(&Progress::new(), what, Duration::from_secs(10), || {
            page().map_err(|error| error.to_string())
        })
    };
    answers("the app answers")?;
    let html = person.volume("example-app/web/var/www/html");
    expect(
        html.join("index.html").exists(),
        "the app's own files on the laptop",
        html.display().to_string(),
    )?;
    person.inside(&folder, "web", "echo a photo > /var/www/html/wp-content/uploads/photo.jpg")?;
    person.down(&folder)?;
    person.start(&folder)?;
    answers("the app answers again")?;
    let photo = http::succeed("GET", "http://127.0.0.1/wp-content/uploads/photo.jpg", &[], &[])?;
    expect(photo.body == "a photo\n", "the photo", photo.body)
}

pub(crate) fn what_the_image_has_is_there(person: &Person<'_>) -> Result<(), Error> {
    let folder = person.project("first", ONE)?;
    person.start(&folder)?;
    let data = person.volume("first/web/data");
    expect_owner(&data, 1000, "750")?;
    expect_owner(&data.join("first"), 1000, "644")?;
    expect_file(&data.join("first"), "first")?;
    person.inside(&folder, "web", "rm /data/first && echo own > /data/own")?;
    person.down(&folder)?;
    person.start(&folder)?;
    expect_nothing_at(&data.join("first"))?;
    expect_file(&data.join("own"), "own")?;
    person.down(&folder)?;
    let without = ONE.replace("[/data]", "[{type: volume, target: /data, volume: {nocopy: true}}]");
    let folder = person.project("first-without", &without)?;
    person.start(&folder)?;
    expect_nothing_at(&person.volume("first-without/web/data/first"))?;
    expect_owner(&person.volume("first-without/web/data"), USER, "755")
}

pub(crate) fn services_meet_only_in_named_volumes(person: &Person<'_>) -> Result<(), Error> {
    let service = "{image: box, network_mode: none, user: '0', volumes: [/srv, 'both:/both']}";
    let file = format!("services:\n  web: {service}\n  worker: {service}\nvolumes: {{both: }}\n");
    let folder = person.project("apart", &file)?;
    person.start(&folder)?;
    person.inside(&folder, "web", "echo web > /srv/a && echo both > /both/a")?;
    let seen = person.inside(&folder, "worker", "ls /srv && cat /both/a && echo worker > /srv/a")?;
    expect(seen == "both", "the shared file alone", seen)?;
    expect_file(&person.volume("apart/web/srv/a"), "web")?;
    expect_file(&person.volume("apart/worker/srv/a"), "worker")?;
    expect_file(&person.volume("apart/@volumes/both/a"), "both")
}

pub(crate) fn binds_are_as_docker_has_them(person: &Person<'_>) -> Result<(), Error> {
    let host_part = person.home.join("elsewhere");
    person.directory(&host_part)?;
    host::write(&host_part.join("a"), "elsewhere")?;
    let file = format!(
        "services:\n  web:\n    image: box\n    network_mode: none\n    user: '0'\n    tmpfs: /memory\n    volumes: ['{}:/elsewhere:ro', './src:/src', '~/mine:/mine', /data]\n",
        host_part.display()
    );
    let folder = person.project("binds", &file)?;
    for own in [folder.join("src"), person.home.join("mine")] {
        person.directory(&own)?;
    }
    person.start(&folder)?;
    let seen = person.inside(
        &folder,
        "web",
        "cat /elsewhere/a; touch /elsewhere/b 2> /dev/null || true; echo src > /src/a; echo mine > /mine/a",
    )?;
    expect(seen == "elsewhere", "the machine's own file", seen)?;
    expect_nothing_at(&host_part.join("b"))?;
    expect_file(&folder.join("src/a"), "src")?;
    expect_file(&person.home.join("mine/a"), "mine")?;
    let there = host::files_below(&person.volume("binds"))?;
    let there: Vec<String> = there.iter().map(|path| path.display().to_string()).collect();
    expect(
        there == [person.volume("binds/web/data/first").display().to_string()],
        "/data alone",
        there.join(" "),
    )
}

pub(crate) fn a_nested_volume_is_in_its_place(person: &Person<'_>) -> Result<(), Error> {
    let file = ONE
        .replace("[/data]", "[/data/inner, /data, /data/new/one]")
        .replace("    volumes", "    user: '0'\n    volumes");
    let folder = person.project("nested", &file)?;
    person.start(&folder)?;
    let data = person.volume("nested/web/data");
    expect_file(&data.join("first"), "first")?;
    expect_owner(&data, 1000, "750")?;
    expect_owner(&data.join("inner"), 1000, "755")?;
    person.inside(
        &folder,
        "web",
        "echo a > /data/inner/a && echo b > /data/new/one/b && echo c > /data/c",
    )?;
    let check = || {
        for (path, content) in [("inner/a", "a"), ("new/one/b", "b"), ("c", "c")] {
            expect_file(&data.join(path), content)?;
        }
        Ok::<(), Error>(())
    };
    check()?;
    person.down(&folder)?;
    person.start(&folder)?;
    check()?;
    let seen = person.inside(&folder, "web", "cat /data/inner/a /data/new/one/b /data/c")?;
    expect(seen == "a\nb\nc", "all three files in the new container", seen)?;
    person.down(&folder)?;
    // What a container may leave behind for the next one.
    std::fs::remove_dir_all(data.join("inner")).map_err(host::failed("remove", &data))?;
    symlink("/etc", data.join("inner")).map_err(host::failed("link", &data))?;
    host::run(std::process::Command::new("chmod").arg("755").arg(&data))?;
    let told = person.agent(&folder, &["start", "--", "--detach"])?.failed()?;
    expect_text(&told, "inner is a symbolic link")
}

pub(crate) fn two_apps_are_apart(person: &Person<'_>) -> Result<(), Error> {
    let root = ONE.replace("    volumes", "    user: '0'\n    volumes");
    let (shop, blog) = (person.project("shop", &root)?, person.project("blog", &root)?);
    host::write(&blog.join(".env"), "COMPOSE_PROJECT_NAME=diary\n")?;
    let told = [person.start(&shop)?, person.start(&blog)?];
    expect_text(&told[0], "the app is `shop`, from the folder's name")?;
    expect_text(&told[1], "the app is `diary`, from COMPOSE_PROJECT_NAME")?;
    person.inside(&shop, "web", "echo shop > /data/a")?;
    person.inside(&blog, "web", "echo blog > /data/a")?;
    expect_file(&person.volume("shop/web/data/a"), "shop")?;
    expect_file(&person.volume("diary/web/data/a"), "blog")?;
    person.down(&shop)?;
    let told = person.agent(&shop, &["start", "--app", "shpo", "--", "--no-start"])?.succeeded()?;
    expect_text(&told, "this project was started as the app `shop` before")?;
    let told = person.agent(&shop, &["start", "--", "--no-start"])?.succeeded()?;
    expect(!told.contains("was started as the app"), "no word of it under its own name", &told)?;
    // Another folder of the same name is the same app, and that is said; `.convox/app` tells them apart.
    let other = person.project("old/shop", &root)?;
    let both = format!("was started from {} too", shop.display());
    let told = person.agent(&other, &["start", "--", "--no-start"])?.succeeded()?;
    expect_text(&told, &both)?;
    person.directory(&other.join(".convox"))?;
    host::write(&other.join(".convox/app"), "old-shop\n")?;
    let told = person.agent(&other, &["start", "--", "--no-start"])?.succeeded()?;
    expect_text(&told, "the app is `old-shop`, from .convox/app")?;
    expect(!told.contains(&both), "no word about the other folder", &told)?;
    expect(person.volume("old-shop/web/data").is_dir(), "a folder of its own", told)
}

pub(crate) fn what_docker_keeps_elsewhere_is_never_taken(person: &Person<'_>) -> Result<(), Error> {
    let engine = person.engine;
    let file = "services:\n  web:\n    image: box\n    network_mode: none\n    user: '0'\n    volumes: ['db:/db', 'ext:/ext', 'own:/own']\nvolumes: {db: , ext: {external: true}, own: {driver_opts: {type: tmpfs, device: tmpfs}}}\n";
    let folder = person.project("elsewhere", file)?;
    engine.docker(&["volume", "create", "ext"])?;
    // What plain Docker Compose made and filled, before anybody knew of `start`.
    person.compose(&folder, &["up", "--detach"])?;
    person.inside(&folder, "web", "echo old > /db/a && echo ext > /ext/a")?;
    person.down(&folder)?;
    person.start(&folder)?;
    let seen = person.inside(&folder, "web", "ls /db; cat /ext/a; grep -c 'tmpfs /own' /proc/mounts")?;
    expect(seen == "ext\n1", "an empty /db, the others as before", seen)?;
    person.down(&folder)?;
    person.compose(&folder, &["up", "--detach"])?;
    let seen = person.inside(&folder, "web", "cat /db/a /ext/a")?;
    expect(seen == "old\next", "Docker's own volume, untouched", seen)?;
    person.compose(&folder, &["down", "--timeout", "0", "--volumes"])?;
    engine.docker(&["volume", "rm", "ext"]).map(drop)
}

pub(crate) fn a_service_of_another_profile(person: &Person<'_>) -> Result<(), Error> {
    let file = format!(
        "{ONE}  job:\n    image: box\n    network_mode: none\n    profiles: [jobs]\n    volumes: [/data]\n"
    );
    let folder = person.project("profiles", &file)?;
    person.agent(&folder, &["start", "--", "--detach", "job"])?.succeeded()?;
    expect_file(&person.volume("profiles/job/data/first"), "first")
}

pub(crate) fn folders_are_made_by_who_runs_it(person: &Person<'_>) -> Result<(), Error> {
    let folder = person.project("mine", ONE)?;
    let printed = person.agent(&folder, &["start", "--print"])?.succeeded()?;
    expect_text(&printed, "device: ")?;
    expect_nothing_at(&person.home.join(".convox"))?;
    let told = person.agent(&folder, &["start", "--", "--no-start"])?.succeeded()?;
    expect_text(&told, "note: web: /data is ")?;
    for made in ["", "mine", "mine/web"] {
        expect_owner(&person.volume(made), USER, "755")?;
    }
    expect_owner(&person.home.join(".convox/overrides"), USER, "755")?;
    let made = host::files_below(&person.home.join(".convox/overrides"))?;
    let overriding = host::read(made.first().map_or(Path::new(""), |path| path))?;
    expect(printed.contains(&overriding), overriding, printed)?;
    // A folder that is there, with what is in it, stays as it is.
    let data = person.volume("other/web/data");
    host::directory(&data)?;
    for path in [data.clone(), person.volume("other/web"), person.volume("other")] {
        person.directory(&path)?;
    }
    host::write(&data.join("before"), "before")?;
    host::run(std::process::Command::new("chmod").arg("700").arg(&data))?;
    person.agent(&folder, &["start", "--app", "other", "--", "--no-start"])?.succeeded()?;
    expect_owner(&data, USER, "700")?;
    expect_file(&data.join("before"), "before")?;
    expect_nothing_at(&data.join("first"))
}

pub(crate) fn what_is_refused_makes_nothing(person: &Person<'_>) -> Result<(), Error> {
    let case = ONE.replace("[/data]", "[/data, /Data]");
    let folder = person.project("refused", &case)?;
    let told = person.agent(&folder, &["start", "--", "--detach"])?.failed()?;
    expect_text(&told, "refused[case-collision]")?;
    let told = person.agent(&folder, &["start", "--app", "a b"])?.failed()?;
    expect_text(&told, "the name from --app can't be an app's")?;
    // What would be refused of a service that doesn't run is only said, and refused when it is to run.
    let jobs = format!("{ONE}  job: {{image: box, profiles: [jobs], volumes: ['/x:ro']}}\n");
    let folder = person.project("refused-job", &jobs)?;
    let told = person.agent(&folder, &["start", "--print"])?.succeeded()?;
    expect_text(&told, "warning[option-without-source]")?;
    let told = person.agent(&folder, &["start", "--", "--detach", "job"])?.failed()?;
    expect_text(&told, "refused[option-without-source]")?;
    expect_nothing_at(&person.home.join(".convox"))?;
    let running = person.engine.docker(&["ps", "--all", "--quiet"])?;
    expect(running.is_empty(), "no container", running)?;

    let folder = person.project("in-the-way", ONE)?;
    let start = || person.agent(&folder, &["start", "--", "--no-start"]);
    start()?.succeeded()?;
    let (app, web) = (person.volume("in-the-way"), person.volume("in-the-way/web"));
    let remove = || std::fs::remove_dir_all(&web).map_err(host::failed("remove", &web));
    remove()?;
    host::write(&web, "a file")?;
    expect_text(&start()?.failed()?, "in-the-way/web is in the way of a volume: it is no folder")?;
    host::remove(&web)?;
    host::directory(&web)?;
    let told = start()?.failed()?;
    expect_text(&told, "can't make the folder")?;
    expect_text(&told, &format!("sudo chown \"$(id -u)\" {}", web.display()))?;
    remove()?;
    symlink("/etc", &web).map_err(host::failed("link", &web))?;
    expect_text(&start()?.failed()?, "in-the-way/web is a symbolic link")?;
    host::remove(&web)?;
    // All of an app may be on another disk.
    let disk = person.home.join("disk");
    person.directory(&disk)?;
    host::remove(&app)?;
    symlink(&disk, &app).map_err(host::failed("link", &app))?;
    start()?.succeeded()?;
    expect(disk.join("web/data").is_dir(), "the folder on the other disk", disk.display().to_string())
}
