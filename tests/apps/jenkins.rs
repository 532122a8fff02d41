//! Jenkins' situation: an image that is not root, with content at its home.

use crate::place::{Application, Place, Seen};
use lab::Error;
use std::time::Instant;

pub(crate) const APPLICATION: Application = Application {
    name: "jenkins",
    told: "An image of uid 1000 with content at its home, a task on each instance, both replaced.",
    images: &[("applications-jenkins", "jenkins/Dockerfile")],
    at_one_address: &[],
    story,
};

const SERVICE: &str = "jenkins";

fn story(place: &dyn Place) -> Result<Vec<Seen>, Error> {
    let begun = Instant::now();
    place.start(SERVICE, 2, &[])?;
    place.answers(SERVICE, "cat /var/jenkins_home/jobs/starts", "up")?;
    let first = Seen::time("first start", begun);
    let looks = "stat -c '%u:%g %a' /var/jenkins_home /var/jenkins_home/config.xml";
    let home = place.run(SERVICE, looks)?;
    let whole = place
        .run_in_other(SERVICE, "cat /var/jenkins_home/config.xml; ls /var/jenkins_home/plugins | wc -l")?;
    place.run(
        SERVICE,
        "mkdir /var/jenkins_home/jobs/build && echo '<project/>' > /var/jenkins_home/jobs/build/config.xml",
    )?;
    let begun = Instant::now();
    place.replace(SERVICE)?;
    place.answers(SERVICE, "cat /var/jenkins_home/jobs/build/config.xml", "<project/>")?;
    let again = Seen::time("replaced", begun);
    let kept = place.run_in_other(SERVICE, "cat /var/jenkins_home/jobs/build/config.xml")?;
    Ok(vec![
        Seen::fact("home and a file of the image in it", home),
        Seen::fact("the image's file, and how many plugins its start installed", whole),
        Seen::fact("a job that was made before the replacement", kept),
        Seen::fact("home after it", place.run(SERVICE, looks)?),
        first,
        again,
    ])
}
