//! A declaration as a docker label carries it: the short form where that says everything, else the long form as an object.

use super::{Declaration, Kind, Options, Source, short_syntax};
use serde_json::{Map, Value, json};

impl Declaration {
    /// For the label.
    pub fn as_label(&self) -> Value {
        let short = self.as_short();
        let says_everything = short_syntax::parse(&short).is_ok_and(|read| read.means(self));
        if says_everything { json!(short) } else { self.as_long() }
    }

    /// The short form that comes closest.
    pub fn as_short(&self) -> String {
        let options = &self.options;
        let mut words: Vec<&str> = Vec::new();
        words.extend(self.read_only.then_some("ro"));
        words.extend(options.nocopy.then_some("nocopy"));
        words.extend(options.selinux.as_deref());
        words.extend(options.propagation.as_deref());
        words.extend(options.dropped.iter().map(String::as_str));
        let mut text = match &self.source {
            Some(source) => format!("{}:{}", source.written(), self.target),
            None => self.target.clone(),
        };
        if !words.is_empty() {
            text.push(':');
            text.push_str(&words.join(","));
        }
        text
    }

    /// The long form.
    pub fn as_long(&self) -> Value {
        let mut long = Map::new();
        long.insert("type".to_owned(), json!(self.kind.word()));
        if let Some(source) = &self.source {
            long.insert("source".to_owned(), json!(source.written()));
        }
        long.insert("target".to_owned(), json!(self.target));
        if self.read_only {
            long.insert("read_only".to_owned(), json!(true));
        }
        for (path, value) in self.options.listed() {
            match path.split_once('.') {
                None => drop(long.insert(path.to_owned(), value)),
                Some((block, key)) => {
                    let block = long.entry(block).or_insert_with(|| json!({}));
                    if let Some(block) = block.as_object_mut() {
                        block.insert(key.to_owned(), value);
                    }
                }
            }
        }
        if let Some(create) = self.options.create_host_path {
            let block = long.entry("bind").or_insert_with(|| json!({}));
            if let Some(block) = block.as_object_mut() {
                block.insert("create_host_path".to_owned(), json!(create));
            }
        }
        if let Some(extension) = &self.options.extension {
            long.insert("x-volumes".to_owned(), extension.clone());
        }
        Value::Object(long)
    }

    /// Whether two declarations ask for the same, however they were written.
    fn means(&self, other: &Self) -> bool {
        let written = |declaration: &Self| {
            declaration.source.as_ref().map(|source: &Source| source.written().to_owned())
        };
        self.kind == other.kind
            && written(self) == written(other)
            && self.target == other.target
            && self.read_only == other.read_only
            && self.options == other.options
            && self.kind != Kind::Tmpfs
    }
}

impl Options {
    /// What is set, by its path in the long form, as `config` shows it.
    pub fn listed(&self) -> Vec<(&'static str, Value)> {
        let text =
            |value: &Option<String>| value.as_ref().filter(|text| !text.is_empty()).map(|text| json!(text));
        let labels = (!self.labels.is_empty()).then(|| json!(self.labels));
        [
            ("consistency", text(&self.consistency)),
            ("bind.selinux", text(&self.selinux)),
            ("bind.propagation", text(&self.propagation)),
            ("bind.recursive", text(&self.recursive)),
            ("volume.labels", labels),
            ("volume.nocopy", self.nocopy.then(|| json!(true))),
            ("volume.subpath", text(&self.subpath)),
            ("tmpfs.size", self.tmpfs_size.filter(|size| *size != 0).map(|size| json!(size.to_string()))),
            ("tmpfs.mode", self.tmpfs_mode.filter(|mode| *mode != 0).map(|mode| json!(mode))),
            ("image.subpath", text(&self.image_subpath)),
        ]
        .into_iter()
        .filter_map(|(path, value)| Some((path, value?)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_kept_where_it_says_everything() {
        for text in ["/data", "/a:/b", "db:/b:ro", "db:/b:ro,nocopy", "/a:/b:z"] {
            assert_eq!(text.parse::<Declaration>().unwrap().as_label(), json!(text), "{text}");
        }
    }

    #[test]
    fn what_the_short_form_cannot_say_is_an_object() {
        let mut single = "/data".parse::<Declaration>().unwrap();
        single.read_only = true;
        assert_eq!(single.as_label(), json!({ "type": "volume", "target": "/data", "read_only": true }));
        let mut named = "db:/b".parse::<Declaration>().unwrap();
        named.source = Some(Source::Named("d".to_owned()));
        named.options.subpath = Some("x".to_owned());
        assert_eq!(
            named.as_label(),
            json!({ "type": "volume", "source": "d", "target": "/b", "volume": { "subpath": "x" } })
        );
        named.options.subpath = None;
        assert_eq!(named.as_label()["source"], "d", "`d:/b` would be a drive");
    }
}
