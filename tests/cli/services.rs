//! What `explain-service` and `run --dry-run` say of services, whole, from the built binary against the lab's ECS on loopback. What they
//! say of the machine that they run on (no instance, no share) is left out: it differs between machines.

use crate::{cluster::Cluster, settings};
use serde_json::json;

#[test]
fn a_service_is_explained_step_by_step() {
    let cluster = Cluster::start();
    // Whatever the tests take: no deployment ends meanwhile.
    cluster.control("pace", &json!({ "least_rollout": 3600 }));
    let old = cluster.register("old-code", |_| {});
    cluster
        .register("old-code", |document| document["containerDefinitions"][0]["image"] = json!("wordpress:5"));
    cluster.create("old-code", &old);
    cluster.create("web", &cluster.register("web", |_| {}));
    let relative = cluster.register("relative", |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.volumes"] = json!("[\"./src:/app\"]");
    });
    cluster.create("relative", &relative);
    let plain = cluster.register("plain", |document| {
        document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
    });
    cluster.create("plain", &plain);
    settings().bind(|| {
        for service in ["web", "old-code", "relative", "plain"] {
            let page = cluster.page(&format!("explain-service {service}"));
            insta::assert_snapshot!(format!("explain-service-{service}"), page);
        }
        insta::assert_snapshot!(
            "explain-service-json",
            cluster.page("explain-service old-code --format json").split("\"missing\"").next().unwrap()
        );
        insta::assert_snapshot!("dry-run", cluster.page("run --dry-run"));
    });
}
