use std::collections::BTreeMap;

use proptest::prelude::*;

use super::with_images;
use crate::domain::{Digest, OverlayImage, overlay_images};

mod shape;

use self::shape::{Overlay, Tape};

proptest! {
    /// The model prints what the edit must give, so that lines that are not meant are the same, byte for byte.
    #[test]
    fn only_what_is_meant_changes(choices in prop::collection::vec(any::<u16>(), 0..160)) {
        let mut tape = Tape::new(&choices);
        let overlay = Overlay::draw(&mut tape);
        let wanted = overlay.wish(&mut tape);
        let before = overlay.print();
        let shown = String::from_utf8_lossy(&before).into_owned();
        prop_assert_eq!(overlay_images(&before).unwrap(), overlay.says(), "{}", shown);
        prop_assert_eq!(&with_images(&before, &overlay.says()).unwrap(), &before);

        let mut edited = overlay.clone();
        let plainly = edited.apply(&wanted);
        let after = with_images(&before, &wanted);
        let after = after.map_err(|error| TestCaseError::fail(format!("{error:?}\n{shown}\n{wanted:?}")))?;
        let (is, meant) = (String::from_utf8_lossy(&after), edited.print());
        prop_assert_eq!(&is, &String::from_utf8_lossy(&meant), "{}\n{:?}", shown, wanted);

        prop_assert_eq!(&with_images(&after, &wanted).unwrap(), &after);
        let says = overlay_images(&after).unwrap();
        prop_assert_eq!(&says, &edited.says());
        for (image, said) in overlay.says() {
            if let Some(want) = wanted.get(&image) {
                prop_assert_eq!(&says[&image].tag, &want.tag);
                prop_assert_eq!(&says[&image].digest, &want.digest);
            } else {
                prop_assert_eq!(&says[&image], &said);
            }
        }
        if plainly {
            prop_assert_eq!(&with_images(&after, &overlay.says()).unwrap(), &before);
        }
    }

    /// Something is put in or cut out anywhere. What is not refused says what it shall, and the rest says what it said.
    #[test]
    fn a_broken_file_is_refused_or_edited_whole(
        choices in prop::collection::vec(any::<u16>(), 0..160),
        place in 0.0..1.0f64,
        cut in 0..6usize,
        token in "(&x |\\*x|\\*name|<<: |!a |\\||>|#|\"|'|\n|\r|\t|, |\\? |: |- |\\[|\\{|\\}|---\n|\\.\\.\\.\n|\u{85}|\\PC|)",
    ) {
        let mut tape = Tape::new(&choices);
        let overlay = Overlay::draw(&mut tape);
        let wanted = overlay.wish(&mut tape);
        let mut text = String::from_utf8(overlay.print()).unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short text")]
        let start = text.floor_char_boundary((text.len() as f64 * place) as usize);
        let end = text.ceil_char_boundary(start + cut);
        text.replace_range(start..end, &token);
        if let Ok(after) = with_images(text.as_bytes(), &wanted) {
            let (was, says) = (overlay_images(text.as_bytes()).unwrap(), overlay_images(&after).unwrap());
            for (image, said) in &was {
                prop_assert!(wanted.contains_key(image) || says.get(image) == Some(said));
            }
            for (image, want) in &wanted {
                prop_assert_eq!((&says[image].tag, &says[image].digest), (&want.tag, &want.digest));
            }
            prop_assert_eq!(with_images(&after, &wanted).unwrap(), after);
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in "(images:|name: a|newTag: v|- |\\{|\\}|\\[|\\]|, |: |\\? |&x |\\*x|<<|!|\\||#|'|\"|\n|\n  |\n- |\r\n|\t|---|\\PC){0,30}") {
        if let Ok(after) = with_images(text.as_bytes(), &wanted("a", Some("v2"), false)) {
            let images = overlay_images(&after).unwrap();
            prop_assert_eq!(images["a"].tag.as_deref(), Some("v2"));
        }
    }
}

fn digest() -> Digest {
    format!("sha256:{}", "0a".repeat(32)).parse().unwrap()
}

fn wanted(image: &str, tag: Option<&str>, digested: bool) -> BTreeMap<String, OverlayImage> {
    let image_wanted = OverlayImage { name: None, tag: tag.map(Into::into), digest: digested.then(digest) };
    BTreeMap::from([(image.to_owned(), image_wanted)])
}

/// `a` at `tag`.
fn tagged(yaml: &str, tag: &str) -> String {
    String::from_utf8(with_images(yaml.as_bytes(), &wanted("a", Some(tag), false)).unwrap()).unwrap()
}

#[test]
fn odd_forms_are_edited_in_place() {
    for (before, after) in [
        ("", "images:\n- name: a\n  newTag: v2\n"),
        ("# nothing yet", "# nothing yet\nimages:\n- name: a\n  newTag: v2"),
        ("---\n", "---\nimages:\n- name: a\n  newTag: v2\n"),
        ("  resources: [x]\n  ", "  resources: [x]\n  \n  images:\n  - name: a\n    newTag: v2"),
        ("images: [] # none\nresources:\n  - x\n", "images: # none\n  - name: a\n    newTag: v2\nresources:\n  - x\n"),
        ("images: &i ~\r\nlabels: []", "images: &i\r\n- name: a\r\n  newTag: v2\r\nlabels: []"),
        ("{\"images\": []}\n", "{\"images\": [{\"name\": \"a\", \"newTag\": \"v2\"}]}\n"),
        ("{\"images\":[{\"name\":\"a\",\"newTag\":null}]}", "{\"images\":[{\"name\":\"a\",\"newTag\":\"v2\"}]}"),
        ("{\"images\":[{\"name\":\"a\"}]}", "{\"images\":[{\"name\":\"a\", \"newTag\": \"v2\"}]}"),
        ("images: [\n  {name: b},\n]\n", "images: [\n  {name: b},\n  {name: a, newTag: v2},\n]\n"),
        ("images:\n- {name: a,\n   digest: '{d}',\n   newTag: v1}\n", "images:\n- {name: a,\n   newTag: v2}\n"),
        ("images:\n- name: a\n  newTag:\n    v1 # c\n", "images:\n- name: a\n  newTag:\n    v2 # c\n"),
        ("images:\n- name: a\n  newTag: # soon\n", "images:\n- name: a\n  newTag: v2 # soon\n"),
        ("images:\n- name: a\n  newTag: ~", "images:\n- name: a\n  newTag: v2"),
        ("images:\n- digest: {d} # c\n\n  # n\n  name: a\n  newTag: v1\n", "images:\n- # n\n  name: a\n  newTag: v2\n"),
        ("images:\n- name: a\n  newTag: v1\n  digest: {d}", "images:\n- name: a\n  newTag: v2"),
        (
            "images:\n- name: b\n  tagSuffix: -x\n  # c\n# d\nlabels: []\n",
            "images:\n- name: b\n  tagSuffix: -x\n- name: a\n  newTag: v2\n  # c\n# d\nlabels: []\n",
        ),
        (
            "x: &v v1\nimages:\n- name: b\n  newTag: *v\n- name: a\n  newTag: &w v1 # *w\n",
            "x: &v v1\nimages:\n- name: b\n  newTag: *v\n- name: a\n  newTag: &w v2 # *w\n",
        ),
        (
            "images:\n-   name: b\n    newTag: *v\n".replace("*v", "v").as_str(),
            "images:\n-   name: b\n    newTag: v\n-   name: a\n    newTag: v2\n",
        ),
        (
            "configMapGenerator:\n- name: x\n  literals:\n  - |\n    images:\n    - name: a\n",
            "configMapGenerator:\n- name: x\n  literals:\n  - |\n    images:\n    - name: a\nimages:\n- name: a\n  newTag: v2\n",
        ),
    ] {
        let before = before.replace("{d}", digest().as_str());
        assert_eq!(tagged(&before, "v2"), after, "{before}");
        assert_eq!(tagged(after, "v2"), after);
    }
}

#[test]
fn a_tag_is_written_as_the_string_that_it_is() {
    let yaml = "images:\n- name: a\n  newTag: 1.10\n";
    for (tag, raw) in [
        ("1.10", "\"1.10\""),
        ("1.1", "\"1.1\""),
        ("on", "\"on\""),
        ("null", "\"null\""),
        ("a: b", "\"a: b\""),
        ("1.1.0", "1.1.0"),
    ] {
        assert_eq!(tagged(yaml, tag), yaml.replace("1.10", raw));
    }
    assert_eq!(
        tagged("images:\n- {name: a, newTag: '1.10'}\n", "it's, 2"),
        "images:\n- {name: a, newTag: 'it''s, 2'}\n"
    );
}

#[test]
fn names_are_set_and_otherwise_left() {
    let yaml = b"images:\n- name: a\n  newName: x\n  newTag: v1\n- name: b\n";
    let name = |name: &str| OverlayImage { name: Some(name.into()), tag: None, digest: None };
    let wanted = BTreeMap::from([
        ("a".to_owned(), name("r/y")),
        ("b".to_owned(), name("r/z")),
        ("c".to_owned(), OverlayImage::default()),
    ]);
    let after = String::from_utf8(with_images(yaml, &wanted).unwrap()).unwrap();
    assert_eq!(after, "images:\n- name: a\n  newName: r/y\n- name: b\n  newName: r/z\n- name: c\n");
    assert_eq!(tagged("images:\n- name: a\n  newName: x\n", "v2"), "images:\n- name: a\n  newName: x\n  newTag: v2\n");
}

#[test]
fn what_is_not_safe_is_refused_with_its_line() {
    let head = "resources: [b]\n";
    for (yaml, line, why) in [
        ("x: &v v1\nimages:\n- name: a\n  newTag: *v\n", 5, "newTag is an alias"),
        ("x: &e {name: a, newTag: v1}\nimages:\n- *e\n", 4, "entry is an alias"),
        ("x: &i [{name: a, newTag: v1}]\nimages: *i\n", 3, "images is an alias"),
        ("images:\n- name: a\n  newTag: &v v1\nx: *v\n", 4, "&v is used in line 5"),
        ("images:\n- &e\n  name: a\n  newTag: v1\nx: *e\n", 3, "&e is used in line 6"),
        ("images: &i\n- name: a\n  newTag: v1\nx: [*i]\n", 2, "&i is used in line 5"),
        ("x: &e {newTag: v1}\nimages:\n- <<: *e\n  name: a\n", 4, "merge key"),
        ("x: &e {namePrefix: p}\n<<: *e\nimages: []\n", 3, "merge key"),
        ("images:\n- name: a\n  newTag: v1\n- name: a\n  newTag: v0\n", 5, "a has a second entry"),
        ("images:\n- name: a\n  newTag: |-\n    v1\n", 4, "block scalar"),
        ("images:\n- name: a\n  newTag: >-\n    v1\n", 4, "block scalar"),
        ("images:\n- name: a\n  newTag: \"v\\\n    1\"\n", 4, "several lines"),
        ("images:\n- name: a\n  newTag: !!str v1\n", 4, "tag (!)"),
        ("images:\n- !!map\n  name: a\n  newTag: v1\n", 3, "tag (!)"),
        ("images:\n- name: a\n  newTag:\tv1\n", 4, "tab"),
        ("images:\n- {? newTag : v1, name: a}\n", 3, "unknown form"),
        ("images:\n- name: a\n  ? newTag\n  : v1\n", 4, "unknown form"),
        ("images:\n- {name: a, # why\n   digest: {d}, newTag: v2}\n", 4, "belong to nothing"),
        ("---\nimages: []\n", 2, "second document"),
        ("images: [\n]\n", 2, "several lines"),
        ("...\n", 2, "ends here"),
        ("images: []\r", 2, "carriage return"),
    ] {
        let yaml = format!("{head}{}", yaml.replace("{d}", digest().as_str()));
        let error = with_images(yaml.as_bytes(), &wanted("a", Some("v2"), false)).unwrap_err();
        assert!(error.hints()[0].contains("by hand"), "{error:?}");
        let error = format!("{error:?}");
        assert!(error.contains(&format!("line {line}: ")) && error.contains(why), "{yaml}\n{error}");
    }
    for yaml in [
        "images:\n- name: a\n  newTag: v1\n  newTag: v2\n",
        "images: []\nimages: []\n",
        "images: [",
        "- a\n",
        "{resources: []}",
        "images: {}\n",
    ] {
        assert!(with_images(yaml.as_bytes(), &wanted("a", Some("v3"), false)).is_err(), "{yaml}");
    }
    assert!(with_images(b"images: []\n# \xff\n", &wanted("a", Some("v"), false)).is_err());
    assert!(with_images(b"images: []\n", &wanted("a", Some("v\n"), false)).is_err());
    // A value that another key would lose with its final newline.
    assert!(with_images(b"x: |\n  text", &wanted("a", Some("v"), false)).is_err());
}

#[test]
fn what_is_right_is_not_looked_at() {
    let yaml = "x: &v v2\nimages:\n- name: a\n  newTag: *v\n- name: b\n  newTag: |-\n    v1\n";
    assert_eq!(tagged(yaml, "v2"), yaml);
}
