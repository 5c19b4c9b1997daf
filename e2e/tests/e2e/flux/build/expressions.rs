//! Expressions, against `flux envsubst`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use gitops_flux::build::{Variables, envsubst};

pub(super) const VARIABLES: [(&str, &str); 9] = [
    ("v", "abcABC123abc"),
    ("empty", ""),
    ("n", "3"),
    ("neg", "-3"),
    ("path", "/home/bozo/ideas/notes.for.today"),
    ("file", "a.b.tar.gz"),
    ("uni", "\u{e9}a\u{df}\u{c9}"),
    ("greek", "\u{3b1}\u{3a3}\u{1f80}\u{130}"),
    ("slash", "foo/bar/baz"),
];

/// Expressions on one line.
pub(super) const EXPRESSIONS: [&str; 96] = [
    "plain $v $(v) $ {v}",
    "${v}",
    "${v}${n}${v}",
    "a${missing}b",
    "$${v}",
    "$$",
    "$$$$${v}",
    "$${v=${n}}",
    "\\\\ ${v}",
    "${v:-x}",
    "${missing:-x}",
    "${missing:=x}",
    "${missing=x}",
    "${missing:?x}",
    "${missing:+x}",
    "${v:+x}",
    "${empty:-x y}",
    "${missing:-}",
    "${missing:-a${n}b${n}c}",
    "${missing:-${missing:-${n}}}",
    "${missing:-$$x\\/}",
    "${missing:-{\"a\":1}}",
    "${missing==x}",
    "${missing:--}",
    "${#v}",
    "${#uni}",
    "${#missing}",
    "${v^}",
    "${v^^}",
    "${v,}",
    "${v,,}",
    "${uni^}",
    "${uni^^}",
    "${uni,,}",
    "${greek^^}",
    "${greek,,}",
    "${greek^}",
    "${empty^}${empty,}",
    "${v,^}",
    "${v^,}",
    "${v:3}",
    "${v:3:3}",
    "${v:0:3}",
    "${v: -3}",
    "${v:${neg}}",
    "${v:${neg}:2}",
    "${v:${n}:${n}}",
    "${v:100}",
    "${v:100:1}",
    "${v:3:100}",
    "${v:x}",
    "${v:0:x}",
    "${v:1::3}",
    "${uni:2}",
    "${uni:2:1}",
    "${v:99999999999999999999}",
    "${v/abc/x}",
    "${v//abc/x}",
    "${v/#abc/x}",
    "${v/%abc/x}",
    "${v/#ABC/x}",
    "${v/abc/}",
    "${v//abc/}",
    "${v/#abc/}",
    "${v/%abc/}",
    "${slash/\\//-}",
    "${slash//\\//-}",
    "${slash//\\//\\\\}",
    "${v/abc//x}",
    "${v/${n}/x}",
    "${v//${empty}/-}",
    "${uni//${empty}/-}",
    "${v/${empty}/-}",
    "${v/abc/${n}}",
    "${v/a}c/x}",
    "${v/$$/x}",
    "${file#*.}",
    "${file##*.}",
    "${file%.*}",
    "${file%%.*}",
    "${path##*/}",
    "${path#*/}",
    "${path%/*}",
    "${path%%/*}",
    "${v#abc}",
    "${v#x}",
    "${v#?b}",
    "${v#[a-c]}",
    "${v#[^b]}",
    "${v#[}",
    "${v%[c]}",
    "${v#\\a}",
    "${v###a}",
    "${uni%\u{c9}}",
    "${uni##?}",
    "${v##*[0-9]}",
];

/// Expressions that are refused.
const REFUSED: [&str; 30] = [
    "${v",
    "${}",
    "${ v }",
    "${v }",
    "${v-x}",
    "${v+x}",
    "${v?x}",
    "${v!}",
    "${missing:-x",
    "${#}",
    "${##v}",
    "${#v:-x}",
    "${v^^^}",
    "${v^x}",
    "${v:}",
    "${v::3}",
    "${v:1:}",
    "${v:\u{e9}}",
    "${v:0:-1}",
    "${v/abc/a${n}}",
    "${v/abc}",
    "${v/}",
    "${v///b}",
    "${v#a${n}}",
    "${v#}",
    "${v##}",
    "${v%%}",
    "${a-b}",
    "${a.b}",
    "${v/abc/x",
];

/// What `flux envsubst` prints for some lines.
fn flux_envsubst(input: &str, strict: bool) -> Result<Option<String>> {
    let mut command = Command::new(e2e::program("flux")?);
    command.arg("envsubst").env_clear().envs(VARIABLES);
    if strict {
        command.arg("--strict");
    }
    let home = tempfile::tempdir()?;
    let mut child = command
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    Ok(output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout))
        .transpose()?)
}

#[test]
fn expressions_give_what_flux_envsubst_gives() -> Result<()> {
    let variables = Variables::from_iter(VARIABLES);
    let printed = flux_envsubst(&EXPRESSIONS.join("\n"), false)?.context("it fails")?;
    let theirs: Vec<&str> = printed.lines().collect();
    assert_eq!(theirs.len(), EXPRESSIONS.len());
    for (expression, theirs) in EXPRESSIONS.iter().zip(theirs) {
        let ours = envsubst::substitute(expression, &variables, false)
            .with_context(|| (*expression).to_owned())?;
        assert_eq!(ours, theirs, "{expression}");
    }
    for expression in REFUSED {
        assert!(
            envsubst::substitute(expression, &variables, false).is_err(),
            "{expression}"
        );
        assert_eq!(flux_envsubst(expression, false)?, None, "{expression}");
    }
    for expression in [
        "${missing}",
        "${empty}",
        "${missing:-x}",
        "${#missing}",
        "${missing^^}",
        "${v:-${missing}}",
    ] {
        let theirs = flux_envsubst(expression, true)?;
        let ours = envsubst::substitute(expression, &variables, true).ok();
        let theirs = theirs.map(|text| text.trim_end_matches('\n').to_owned());
        assert_eq!(ours, theirs, "{expression}");
    }
    println!(
        "{} expressions come out alike, {} are refused by both",
        EXPRESSIONS.len(),
        REFUSED.len()
    );
    Ok(())
}
