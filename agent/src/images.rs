//! What the Docker engine of this machine knows of images, asked through its command line.
//!
//! Whoever plans may have no engine, or not these images: then nothing is known, and nothing is said. Nothing is pulled.

use crate::deploy::caution::{Image, Images};
use serde_json::Value;
use std::{collections::BTreeSet, process::Stdio, time::Duration};
use tokio::{process::Command, task::JoinSet, time::timeout};

/// For all answers together: a plan doesn't wait for an engine that hangs. Each takes some 30 ms.
const DEADLINE: Duration = Duration::from_secs(2);
/// So many are asked about: each is a process of its own.
const MOST_IMAGES: usize = 32;

/// What is known of images in time. What asks about the others is killed.
pub async fn known(names: &BTreeSet<&str>) -> Images {
    let mut images = Images::new();
    if std::env::var_os("PATH").is_none_or(|path| path.is_empty()) {
        return images;
    }
    let mut asked: JoinSet<Option<(String, Image)>> = names
        .iter()
        .filter(|name| !name.is_empty())
        .take(MOST_IMAGES)
        .map(|name| {
            let name = (*name).to_owned();
            async move {
                let image = inspect(&name).await?;
                Some((name, image))
            }
        })
        .collect();
    let all = async {
        while let Some(answer) = asked.join_next().await {
            images.extend(answer.ok().flatten());
        }
    };
    // Late answers are as good as none; dropping the set ends their processes.
    drop(timeout(DEADLINE, all).await);
    images
}

async fn inspect(name: &str) -> Option<Image> {
    let output = Command::new("docker")
        .args(["image", "inspect", "--format", "{{json .Config}}", "--", name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .ok()?;
    output.status.success().then(|| parse(&output.stdout)).flatten()
}

/// An image's `Config`, as the engine has it.
fn parse(answer: &[u8]) -> Option<Image> {
    let config: Value = serde_json::from_slice(answer).ok()?;
    let config = config.as_object()?;
    let volumes = config.get("Volumes").and_then(Value::as_object).into_iter().flatten();
    let mut volumes: Vec<String> = volumes.map(|(path, _)| path.clone()).collect();
    volumes.sort();
    Some(Image { volumes, user: config.get("User").and_then(Value::as_str).unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_answer_is_read_and_anything_else_is_nothing() {
        let image = parse(br#"{"User":"472","Volumes":{"/b":{},"/a":{}},"Env":["X=1"]}"#).unwrap();
        assert_eq!((image.user.as_str(), image.volumes), ("472", vec!["/a".to_owned(), "/b".to_owned()]));
        assert_eq!(parse(br#"{"User":"","Volumes":null}"#), Some(Image::default()));
        assert_eq!(parse(b"{}"), Some(Image::default()));
        assert_eq!((parse(b"[]"), parse(b"null"), parse(b"no")), (None, None, None));
    }
}
