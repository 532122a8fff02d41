//! WordPress with Apache, PHP and MariaDB: the example of the feature's own page.

use crate::place::{Application, Place, Seen};
use lab::{Error, expect};
use std::time::Instant;

pub(crate) const APPLICATION: Application = Application {
    name: "wordpress",
    told: "WordPress with Apache and PHP on each instance, and one MariaDB, installed through its own web interface. A picture is uploaded \
           to the one, and fetched from the other; then all tasks are replaced.",
    images: &[
        ("applications-wordpress", "wordpress/Dockerfile"),
        ("applications-mariadb", "wordpress/mariadb.Dockerfile"),
    ],
    at_one_address: &[DATABASE],
    story,
};

const SERVICE: &str = "wordpress";
const DATABASE: &str = "db";

/// A picture that is the same each time it is made.
const PICTURE: &str = "php -r '$i = imagecreatetruecolor(1200, 800); for ($n = 0; $n < 400; $n++) imageline($i, $n * 3, 0, 1200 - $n, 800, $n * 1000); imagepng($i, \"/tmp/picture.png\");' && sha256sum < /tmp/picture.png";

/// Logs in, and says how the server answered: 302 leads to the dashboard.
const LOGIN: &str = "curl -s -o /dev/null -w '%{http_code}' -c /tmp/jar -b 'wordpress_test_cookie=WP+Cookie+check' -d 'log=admin&pwd=correct-horse&testcookie=1' http://ADDRESS:8080/wp-login.php";

/// As the browser's form does. Gives the picture's path.
const UPLOAD: &str = "nonce=$(curl -s -b /tmp/jar http://ADDRESS:8080/wp-admin/media-new.php | grep -o '\"_wpnonce\":\"[0-9a-f]*\"' | head -n 1 | cut -d '\"' -f 4); curl -s -b /tmp/jar -F name=picture.png -F action=upload-attachment -F _wpnonce=$nonce -F 'async-upload=@/tmp/picture.png;type=image/png' http://ADDRESS:8080/wp-admin/async-upload.php | grep -o 'wp-content[^\"]*picture[^\"]*png' | head -n 1 | tr -d '\\\\'";

fn story(place: &dyn Place) -> Result<Vec<Seen>, Error> {
    let begun = Instant::now();
    place.start(DATABASE, 1, &[])?;
    let database = place.first(DATABASE)?;
    let answers =
        "mariadb --user=wordpress --password=wordpress --host=127.0.0.1 --execute='SELECT 4711' wordpress";
    place.answers(DATABASE, answers, "4711")?;
    let installed = Seen::time("MariaDB's first start", begun);
    let begun = Instant::now();
    // One first: two at once would copy WordPress' files over each other's, as they would anywhere.
    place.start(SERVICE, 1, &[("DB_HOST", &database)])?;
    let page = "curl -s http://127.0.0.1:8080/wp-admin/install.php";
    place.answers(SERVICE, page, "Site Title")?;
    let first = Seen::time("WordPress' first start", begun);
    place.scale(SERVICE, 2)?;
    place.answers(SERVICE, page, "Site Title")?;
    let address = place.first(SERVICE)?;
    let at = |line: &str| line.replace("ADDRESS", &address);
    let install = place.run(
        SERVICE,
        &at("curl -s -d 'weblog_title=Lab&user_name=admin&admin_password=correct-horse&admin_password2=correct-horse&admin_email=admin@example.com&blog_public=0&language=' 'http://ADDRESS:8080/wp-admin/install.php?step=2' | grep -o 'WordPress has been installed'"),
    )?;
    let login = place.run(SERVICE, &at(LOGIN))?;
    let picture = place.run(SERVICE, PICTURE)?;
    let path = place.run(SERVICE, &at(UPLOAD))?;
    expect(path.ends_with(".png"), "the path of the uploaded picture", &*path)?;
    let fetch = format!("curl -s http://127.0.0.1:8080/{path} | sha256sum");
    let other = place.run_in_other(SERVICE, &fetch)?;
    let sizes = "find /var/www/html/wp-content/uploads -name 'picture*.png' | wc -l";
    let made = place.run_in_other(SERVICE, sizes)?;
    let looks = "stat -c '%U:%G %a' /var/www/html /var/www/html/index.php /var/www/html/wp-content/uploads";
    let before = place.run(SERVICE, looks)?;
    let begun = Instant::now();
    place.replace(DATABASE)?;
    place.answers(DATABASE, answers, "4711")?;
    expect(place.first(DATABASE)? == database, "the database at its address", place.first(DATABASE)?)?;
    place.replace(SERVICE)?;
    place.answers(SERVICE, "curl -s http://127.0.0.1:8080/wp-login.php", "user_login")?;
    let again = Seen::time("all tasks replaced", begun);
    let is_same = |sum: &str| if sum == picture { "the same bytes" } else { "others" };
    let after = [place.run(SERVICE, &fetch)?, place.run_in_other(SERVICE, &fetch)?];
    Ok(vec![
        Seen::fact("installation through the web", install),
        Seen::fact("login", login),
        Seen::fact("the picture from the other task", is_same(&other)),
        Seen::fact("files of it, smaller ones included", made),
        Seen::fact("folder, a file of the image, and uploads", &*before),
        Seen::fact(
            "the picture after all tasks were replaced, from both",
            after.map(|sum| is_same(&sum)).join(", "),
        ),
        Seen::fact("login after it", place.run(SERVICE, &at(LOGIN))?),
        Seen::fact("folder after it", place.run(SERVICE, looks)?),
        installed,
        first,
        again,
    ])
}
