use gitops_core::ErrorKind;
use proptest::prelude::*;

use super::*;

/// `[name=value ...]`, an expression, and what it gives; `None` is an error.
type Row = (
    &'static [(&'static str, &'static str)],
    &'static str,
    Option<&'static str>,
);

const V: &[(&str, &str)] = &[
    ("v", "abcABC123abc"),
    ("empty", ""),
    ("n", "3"),
    ("neg", "-3"),
    ("path", "/home/bozo/ideas/notes.for.today"),
    ("file", "a.b.tar.gz"),
    ("uni", "éaßÉ"),
    ("slash", "foo/bar/baz"),
];

const ROWS: &[Row] = &[
    // Text.
    (V, "", Some("")),
    (V, "plain $v $(v) $ {v} }", Some("plain $v $(v) $ {v} }")),
    (V, "a $", Some("a $")),
    // Values.
    (V, "${v}", Some("abcABC123abc")),
    (V, "<${v}${n}>", Some("<abcABC123abc3>")),
    (V, "${missing}", Some("")),
    (V, "${1}${é}", Some("")),
    (V, "${v", None),
    (V, "${}", None),
    (V, "${ v }", None),
    (V, "${v }", None),
    (V, "${v-x}", None),
    (V, "${v+x}", None),
    (V, "${v?x}", None),
    (V, "${v!}", None),
    // Escapes.
    (V, "$${v}", Some("${v}")),
    (V, "$$", Some("$")),
    (V, "$$$${v}", Some("$${v}")),
    (V, "$$${v}", Some("$abcABC123abc")),
    (V, "a\\\\b", Some("a\\\\b")),
    (V, "$${v=${n}}", Some("${v=3}")),
    // Defaults.
    (V, "${v:-x}", Some("abcABC123abc")),
    (V, "${missing:-x}", Some("x")),
    (V, "${missing:=x}", Some("x")),
    (V, "${missing=x}", Some("x")),
    (V, "${missing:?x}", Some("x")),
    (V, "${missing:+x}", Some("x")),
    (V, "${v:+x}", Some("abcABC123abc")),
    (V, "${empty:-x y}", Some("x y")),
    (V, "${missing:-}", Some("")),
    (V, "${missing:-a${n}b${n}}", Some("a3b3")),
    (V, "${missing:-${missing:-${n}}}", Some("3")),
    (V, "${missing:-$$x\\/}", Some("$$x\\/")),
    (V, "${missing:-{\"a\":1}}", Some("{\"a\":1}")),
    (V, "${missing:-a\n  b}", Some("a\n  b")),
    (V, "${missing:-x", None),
    (V, "${missing==x}", Some("=x")),
    // Length.
    (V, "${#v}", Some("12")),
    (V, "${#uni}", Some("7")),
    (V, "${#missing}", Some("0")),
    (V, "${#}", None),
    (V, "${##v}", None),
    (V, "${#v:-x}", None),
    // Cases.
    (V, "${v^}", Some("AbcABC123abc")),
    (V, "${v^^}", Some("ABCABC123ABC")),
    (V, "${v,,}", Some("abcabc123abc")),
    (V, "${uni^}", Some("ÉaßÉ")),
    (V, "${uni^^}", Some("ÉAßÉ")),
    (V, "${uni,,}", Some("éaßé")),
    (V, "${empty^}${empty,}", Some("")),
    (V, "${v,^}", Some("abcABC123abc")),
    (V, "${v^^^}", None),
    (V, "${v^x}", None),
    // Parts.
    (V, "${v:3}", Some("ABC123abc")),
    (V, "${v:3:3}", Some("ABC")),
    (V, "${v:0:3}", Some("abc")),
    (V, "${v:-3}", Some("abcABC123abc")),
    (V, "${v: -3}", Some("abcABC123abc")),
    (V, "${v:${neg}}", Some("abc")),
    (V, "${v:${neg}:2}", Some("ab")),
    (V, "${v:${n}:${n}}", Some("ABC")),
    (V, "${v:100}", Some("")),
    (V, "${v:100:1}", Some("")),
    (V, "${v:3:100}", Some("ABC123abc")),
    (V, "${v:x}", Some("abcABC123abc")),
    (V, "${v:0:x}", Some("abcABC123abc")),
    (V, "${v:0:-1}", None),
    (V, "${v:+1}", Some("abcABC123abc")),
    (V, "${v:}", None),
    (V, "${v::3}", None),
    (V, "${v:1:}", None),
    (V, "${v:1::3}", Some("bcA")),
    (V, "${v:é}", None),
    (V, "${uni:1}", None),
    (V, "${uni:2}", Some("aßÉ")),
    (V, "${v:9223372036854775807:9223372036854775807}", None),
    (V, "${v:99999999999999999999}", Some("abcABC123abc")),
    // Replacements.
    (V, "${v/abc/x}", Some("xABC123abc")),
    (V, "${v//abc/x}", Some("xABC123x")),
    (V, "${v/#abc/x}", Some("xABC123abc")),
    (V, "${v/%abc/x}", Some("abcABC123x")),
    (V, "${v/#ABC/x}", Some("abcABC123abc")),
    (V, "${v/abc/}", Some("ABC123abc")),
    (V, "${v//abc/}", Some("ABC123")),
    (V, "${v/#abc/}", Some("abcABC123abc")),
    (V, "${slash/\\//-}", Some("foo-bar/baz")),
    (V, "${slash//\\//-}", Some("foo-bar-baz")),
    (V, "${slash//\\//\\\\}", Some("foo\\bar\\baz")),
    (V, "${v/abc//x}", Some("xABC123abc")),
    (V, "${v/${n}/x}", Some("abcABC12xabc")),
    (V, "${v//${empty}/-}", Some("-a-b-c-A-B-C-1-2-3-a-b-c-")),
    (V, "${v/abc/${n}}", Some("3ABC123abc")),
    (V, "${v/abc/a${n}}", None),
    (V, "${v/a}c/x}", Some("abcABC123abc")),
    (V, "${v/abc}", None),
    (V, "${v/}", None),
    (V, "${v///b}", None),
    (V, "${v/$$/x}", Some("abcABC123abc")),
    // Patterns.
    (V, "${file#*.}", Some("b.tar.gz")),
    (V, "${file##*.}", Some("gz")),
    (V, "${file%.*}", Some("a.b.tar")),
    (V, "${file%%.*}", Some("a")),
    (V, "${path##*/}", Some("notes.for.today")),
    (V, "${path#*/}", Some("home/bozo/ideas/notes.for.today")),
    (V, "${path%/*}", Some("/home/bozo/ideas")),
    (V, "${v#abc}", Some("ABC123abc")),
    (V, "${v#x}", Some("abcABC123abc")),
    (V, "${v#?b}", Some("cABC123abc")),
    (V, "${v#[a-c]}", Some("bcABC123abc")),
    (V, "${v#[^b]}", Some("bcABC123abc")),
    (V, "${v#[}", Some("abcABC123abc")),
    (V, "${v%[c]}", Some("abcABC123abc")),
    (V, "${v#\\a}", Some("bcABC123abc")),
    (V, "${v#${n}}", Some("abcABC123abc")),
    (V, "${v###a}", Some("abcABC123abc")),
    (V, "${uni%É}", Some("éaß")),
    // The shortest match is a byte, half a character.
    (V, "${uni#?}", None),
    (V, "${uni##?}", Some("aßÉ")),
    (V, "${v#a${n}}", None),
    (V, "${v#}", None),
    (V, "${v##}", None),
    (V, "${v%%}", None),
];

#[test]
fn the_dialect_is_flux_own() {
    for (variables, input, wanted) in ROWS {
        let variables = variables.iter().copied().collect::<Variables>();
        let given = substitute(input, &variables, false);
        match (wanted, &given) {
            (Some(wanted), Ok(given)) => assert_eq!(given, wanted, "{input}"),
            (None, Err(error)) => {
                let text = format!("{error:#}");
                assert!(!text.contains("ABC123"), "{input}: {text}");
            }
            _ => panic!("{input}: wanted {wanted:?}, got {given:?}"),
        }
    }
}

#[test]
fn strict_mode_wants_plain_variables_only() {
    let variables = Variables::from_iter([("empty", ""), ("v", "x")]);
    for (input, fine) in [
        ("${empty}", true),
        ("${missing}", false),
        ("${missing:-x}", true),
        ("${#missing}", true),
        ("${missing^^}", true),
        ("${v:-${missing}}", false),
    ] {
        assert_eq!(substitute(input, &variables, true).is_ok(), fine, "{input}");
    }
    let error = substitute("a\nb ${missing}", &variables, true).unwrap_err();
    assert!(error.to_string().contains("\"missing\""), "{error}");
}

#[test]
fn faults_name_their_line() {
    let error = substitute("a: ${v}\nb: ${v\nc: 1", &Variables::new(), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2: `}` is missing, or an operator is not known"
    );
}

#[test]
fn what_would_not_end_is_refused() {
    let deep = "${v:-".repeat(100_000);
    assert!(substitute(&deep, &Variables::new(), false).is_err());
    let nested = format!("{}x{}", "${v:-".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
    assert_eq!(substitute(&nested, &Variables::new(), false).unwrap(), "x");
    let variables = Variables::from_iter([("big", "a".repeat(1 << 20))]);
    for bomb in [
        "${big}".repeat(40),
        "${big//a/${big}}".to_owned(),
        "${big%*b*a}".to_owned(),
        "\0".to_owned(),
    ] {
        assert!(substitute(&bomb, &variables, false).is_err());
    }
}

/// What one expression may do, many of them may not do together; and none of it takes long.
#[test]
fn all_expressions_share_the_limits() {
    let mut variables = Variables::from_iter([("set", "x")]);
    variables.set("big", &"a".repeat(1 << 20));
    variables.set("long", &"a".repeat(4 << 10));
    variables.set("part", &"a".repeat(64 << 10));
    let defaults = |words: usize| format!("${{set:-{}}}", "${big}".repeat(words));
    let words = "${big}".repeat(30);
    let nested = format!("{}{words}{}", "${gone:-".repeat(5), "}".repeat(5));
    let chunk = format!("${{long##*{}b}}", "a".repeat(2 << 10));
    let output = "substitution gives more than 32 MiB";
    let written = "substitution writes more than 128 MiB on the way";
    let compared = "the values are too long for their patterns";
    assert_eq!(
        substitute(&defaults(32), &variables, true).unwrap(),
        "x",
        "32 MiB that are not needed"
    );
    let start = std::time::Instant::now();
    for (text, wanted) in [
        (defaults(20_000), output),
        (defaults(20_000).replace("set", "gone"), output),
        (defaults(30).repeat(1000), written),
        (nested, written),
        ("${big//${part}/}".repeat(1000), compared),
        (chunk.repeat(300), compared),
    ] {
        let error = substitute(&text, &variables, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let shown = error.to_string();
        assert!(shown.ends_with(wanted), "{}: {shown}", &text[..20]);
    }
    let took = start.elapsed();
    assert!(took.as_secs() < 60, "{took:?}");
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC*", value in "\\PC*") {
        let variables = Variables::from_iter([("v", &value), ("n", &value)]);
        let _ = substitute(&text, &variables, true);
    }

    #[test]
    fn nothing_that_looks_like_an_expression_panics(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "${", "}", "v", "n", ":", "-", "=", "/", "#", "%", "^", ",", "*", "?", "[", "]", "\\", "$", "é", "1", "9", " ", "\n", "a",
            ]),
            0..24,
        ),
        value in "[a-c/.é]{0,12}",
    ) {
        let text = parts.concat();
        let variables = Variables::from_iter([("v", value.as_str()), ("n", "-2")]);
        let _ = substitute(&text, &variables, false);
        let _ = substitute(&format!("${{v{text}}}"), &variables, false);
    }

    #[test]
    fn text_without_dollars_is_left_alone(text in "[^$\0]*") {
        prop_assert_eq!(&substitute(&text, &Variables::new(), true).unwrap(), &text);
    }

    #[test]
    fn escaped_text_comes_out_as_it_was(text in "[a-z$ {}]*") {
        prop_assert_eq!(&substitute(&text.replace('$', "$$"), &Variables::new(), true).unwrap(), &text);
    }
}
