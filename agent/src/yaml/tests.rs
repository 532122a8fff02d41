use super::*;

fn yaml(text: &str) -> Yaml {
    read(&Arc::from("f.yml"), text)
}

fn document(text: &str) -> Node {
    let mut yaml = yaml(text);
    assert_eq!(yaml.errors, [], "{text}");
    yaml.documents.remove(0)
}

fn at(node: &Node) -> (usize, usize, usize) {
    (node.place.line, node.place.column, node.place.length)
}

#[test]
fn places_are_lines_and_columns_in_characters() {
    let root = document("a:\n  - \"\u{e4}\": xyz\n");
    let Value::List(items) = &root.get("a").unwrap().value else { panic!() };
    assert_eq!(at(items[0].get("\u{e4}").unwrap()), (2, 10, 3));
    assert_eq!(at(&items[0]), (2, 5, 3), "a mapping is shown by its first key");
}

#[test]
fn an_alias_is_the_text_at_its_anchor_and_says_where_it_was_asked_for() {
    let root = document("a: &list\n  - /x\nb: *list\n");
    let b = root.get("b").unwrap();
    let Value::List(items) = &b.value else { panic!() };
    assert_eq!(at(&items[0]), (2, 5, 2));
    let steps: Vec<_> =
        Origin::chain(items[0].origin.as_ref()).map(|o| (o.step.clone(), o.at.line)).collect();
    assert_eq!(steps, [(Step::Alias("list".to_owned()), 3)]);
}

#[test]
fn merge_keys_bring_what_is_not_there_and_the_first_of_a_list_wins() {
    let root = document("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 0\n");
    let c = root.get("c").unwrap().as_json();
    assert_eq!(c, serde_json::json!({ "x": 0, "y": 1, "z": 2 }));
    let quoted = document("\"<<\": 1\n");
    assert_eq!(quoted.get("<<").unwrap().as_scalar(), Some("1"), "a quoted `<<` is a key like any other");
}

#[test]
fn tags_and_documents_are_kept() {
    let yaml = yaml("a: !reset []\n---\nb: !!str 1\n");
    assert_eq!(yaml.documents[0].get("a").unwrap().tag.as_deref(), Some("!reset"));
    assert_eq!(yaml.documents[1].get("b").unwrap().as_text(), Some("1"));
}

#[test]
fn what_cannot_be_read_says_where() {
    for (text, line, words) in [
        ("a: [\n", 2, "this is not YAML"),
        ("a:\n\tb: 1\n", 2, "indented by a tab"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key `a` is there already"),
        ("1: a\n", 1, "the key `1` is a number, not a string"),
        ("[a]: b\n", 1, "this key is not a string"),
        ("a: &a [*a]\n", 1, "stands inside what it names"),
        ("a: *nowhere\n", 1, "this is not YAML"),
        ("a:\n  <<: 1\n", 2, "`<<` takes a mapping"),
        ("a: !!int x\n", 1, "`x` is not `!!int`"),
    ] {
        let errors = yaml(text).errors;
        assert_eq!(errors.len(), 1, "{text:?}: {errors:?}");
        assert_eq!(errors[0].place().line, line, "{text:?}");
        assert!(errors[0].to_string().contains(words), "{text:?}: {}", errors[0]);
    }
}

#[test]
fn nothing_grows_out_of_hand() {
    assert!(matches!(yaml(&"[".repeat(100)).errors[..], [YamlError::TooDeep { .. }]));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(matches!(yaml(&bomb).errors[..], [YamlError::TooMany { .. }]));
    assert!(matches!(yaml(&"- a\n".repeat(200_001)).errors[..], [YamlError::TooMany { .. }]));
}
