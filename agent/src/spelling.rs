//! What a word was probably meant to be.

/// More slips than this are another word.
const MOST_SLIPS: usize = 2;
/// Of so many known words the nearest is looked for, and for words of so many bytes: files are other people's, and may be large.
const MOST_WORDS: usize = 128;
/// See [`MOST_WORDS`].
const LONGEST_WORD: usize = 64;

/// The known word that is nearest to `word`, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let slips = |known: &str| strsim::damerau_levenshtein(&letters(word), &letters(known));
    if word.is_empty() || word.len() > LONGEST_WORD {
        return None;
    }
    let known = known.into_iter().filter(|known| known.len() <= LONGEST_WORD).take(MOST_WORDS);
    let (slips, found) = known.map(|known| (slips(known), known)).min()?;
    // In a short word two slips leave nothing of it.
    (slips <= MOST_SLIPS.min(word.chars().count() / 3).max(1) || found.starts_with(word)).then_some(found)
}

/// The same as the end of a sentence; nothing, where nothing is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|meant| format!("did you mean `{meant}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["read_only", "source", "target", "rack", "log"];
        for (word, meant) in [
            ("readonly", Some("read_only")),
            ("sorce", Some("source")),
            ("racks", Some("rack")),
            ("logs", Some("log")),
            ("database", None),
            ("tag", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
