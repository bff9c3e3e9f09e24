use super::*;
use crate::report::Exit;
use std::path::Path;

fn source(text: &str) -> Source {
    Source { file: PathBuf::from("folder/r.toml"), text: text.to_string() }
}

/// The message and the hint with which a recipe is refused.
fn refused(text: &str, sets: &[&str]) -> (String, String) {
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    let source = source(text);
    let outcome = source.parse(&sets).and_then(|recipe| RunPlan::new(recipe, &source).map(drop));
    let failure = outcome.expect_err("refused");
    assert_eq!(failure.exit, Exit::Usage, "{failure}");
    (failure.to_string(), failure.hint.unwrap_or_default())
}

/// Lines 1 to 3 of a recipe that lacks nothing but its files.
const GOOD: &str = "data = { path = 'd.jsonl', to = 'ru' }\nbase = { model = 'm' }\n\
    translate = { engine = 'memory', memory = 'm.tmx' }\n";

#[test]
fn a_misspelt_setting_is_named_with_its_line_and_the_right_word() {
    let (message, hint) = refused("[data]\nto = 'ru'\n\n[train]\nepochs = 2\nlerning_rate = 1e-4\n", &[]);
    assert_eq!(message, "folder/r.toml:6: [train] there is no setting `lerning_rate`");
    assert_eq!(hint, "did you mean `learning_rate`?");
    let (message, hint) = refused("[trian]\nepochs = 2\n", &[]);
    assert_eq!(message, "folder/r.toml:1: there is no section `trian`");
    assert_eq!(hint, "did you mean `train`?");
    let (message, hint) = refused("[clean]\ntoo_long = { max_field_char = 7 }\n", &[]);
    assert_eq!(message, "folder/r.toml:2: [clean] there is no setting `max_field_char`");
    assert_eq!(hint, "did you mean `max_field_chars`?");
    let (message, hint) = refused("[translate]\nengine = 'libretranslat'\n", &[]);
    assert_eq!(message, "folder/r.toml:2: [translate] there is no choice `libretranslat`");
    assert_eq!(hint, "did you mean `libretranslate`?");
}

#[test]
fn what_is_like_nothing_known_gets_the_list() {
    let (message, hint) = refused("[export]\nformat = 'gguf'\n", &[]);
    assert_eq!(message, "folder/r.toml:1: there is no section `export`");
    assert!(hint.starts_with("there are data, clean, translate"), "{hint}");
}

#[test]
fn wrong_kinds_and_broken_toml_are_named_with_their_line() {
    let (message, _) = refused("[train]\n# two\nepochs = 'two'\n", &[]);
    assert!(message.starts_with("folder/r.toml:3: [train] invalid type: string \"two\""), "{message}");
    let (message, _) = refused("[train]\nepochs = \n", &[]);
    assert!(message.starts_with("folder/r.toml:2: "), "{message}");
    let (message, _) = refused("[base]\ntemplate = 'alpaka'\n", &[]);
    assert!(message.starts_with("folder/r.toml:2: ") && message.contains("alpaca-ru"), "{message}");
}

#[test]
fn impossible_values_are_named_with_the_line_of_their_setting() {
    let place = |text: &str| refused(&format!("{GOOD}{text}"), &[]).0;
    assert_eq!(
        place("[train]\n\nlearning_rate = -1\n"),
        "folder/r.toml:6: [train] learning_rate = -1: expected a number above 0"
    );
    assert!(place("[lora]\nrank = 0\n").starts_with("folder/r.toml:5: [lora] rank must be at least 1"));
    assert!(
        place("[clean]\nnear_duplicates = { similarity = 2.0 }\n").starts_with("folder/r.toml:5: [clean]")
    );
    assert!(place("[eval]\nlimit = 0\n").starts_with("folder/r.toml:5: [eval] limit = 0"));
    assert!(place("[eval]\nminimum = { exakt = 1 }\n").contains("exakt"));
}

#[test]
fn languages_and_translation_must_agree() {
    let base = "[base]\nmodel = 'm'\n";
    let (message, hint) = refused(&format!("{base}[data]\npath = 'd'\nto = 'ru'\n"), &[]);
    assert!(message.contains("[translate] engine is missing: who translates from en to ru?"), "{message}");
    assert!(hint.contains("[data] from"), "{hint}");
    let same = "[data]\npath = 'd'\nfrom = 'ru'\nto = 'ru'\n";
    assert!(refused(&format!("{base}{same}[translate]\n"), &[]).0.contains("are both `ru`"));
    assert!(refused(&format!("{base}{same}replay_share = 0.1\n"), &[]).0.contains("nothing is translated"));
    let (message, hint) = refused(GOOD, &["translate.to=de"]);
    assert!(
        message.contains("[translate] to is \"de\", but \"ru\" in [data]") && hint.contains("[data]"),
        "{message}"
    );
}

#[test]
fn what_is_missing_is_asked_for() {
    assert!(refused("", &[]).0.contains("[data] to is missing"));
    assert!(refused("data = { from = 'ru', to = 'ru' }", &[]).0.contains("[data] path is missing"));
    let (message, _) = refused("data = { path = 'd', from = 'ru', to = 'ru' }", &[]);
    assert!(message.contains("[base] model is missing"), "{message}");
    let (message, _) = refused(GOOD, &["data.validation_share=0"]);
    assert!(message.contains("nothing is held out"), "{message}");
    let (message, _) = refused(GOOD, &["data.validation=v.jsonl", "data.validation_share=0.1"]);
    assert!(message.contains("validation_share and validation are both set"), "{message}");
}

#[test]
fn settings_on_the_command_line_win_and_need_no_quotes() {
    let source = source(GOOD);
    let set = |text: &str| source.parse(&[text.to_string()]);
    assert_eq!(set("train.epochs=7").unwrap().train.epochs, 7);
    assert_eq!(set("data.to=de").unwrap().data.to.as_deref(), Some("de"));
    assert_eq!(set("data.to = \"de\"").unwrap().data.to.as_deref(), Some("de"));
    assert_eq!(set("lora.target_modules=['q_proj']").unwrap().lora.target_modules, ["q_proj"]);
    assert_eq!(set("data.to=de").unwrap().data.path, Some("d.jsonl".into()), "the rest of the section stays");
    let long = set("clean.too_long.max_field_chars=9").unwrap();
    assert_eq!(long.clean.too_long.options().map(|o| o.max_field_chars), Some(9));
    let (message, hint) = refused(GOOD, &["train.epoch=1"]);
    assert_eq!(message, "--set train.epoch=1: there is no setting `epoch`");
    assert_eq!(hint, "did you mean `epochs`?");
    for wrong in ["epochs=1", "train.epochs", "[train]"] {
        assert!(refused(GOOD, &[wrong]).0.contains("expected SECTION.KEY=VALUE"), "{wrong}");
    }
}

/// A folder with everything that [`GOOD`] names.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("m")).unwrap();
    for file in ["d.jsonl", "m.tmx"] {
        std::fs::write(dir.path().join(file), "").unwrap();
    }
    dir
}

fn plan(folder: &Path, text: &str) -> Result<RunPlan, crate::report::Failure> {
    let source = Source { file: folder.join("r.toml"), text: text.to_string() };
    RunPlan::new(source.parse(&[])?, &source)
}

#[test]
fn paths_are_relative_to_the_recipe_and_must_be_there() {
    let dir = folder();
    let plan_there = plan(dir.path(), GOOD).unwrap();
    assert_eq!(plan_there.data, dir.path().join("d.jsonl"));
    for (file, says) in [("m.tmx", "[translate] memory"), ("d.jsonl", "[data] path")] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
        let failure = plan(dir.path(), GOOD).unwrap_err();
        assert_eq!(failure.exit, Exit::Input);
        assert!(failure.to_string().contains(says) && failure.to_string().contains(file), "{failure}");
    }
    std::fs::remove_dir(dir.path().join("m")).unwrap();
    std::fs::write(dir.path().join("d.jsonl"), "").unwrap();
    std::fs::write(dir.path().join("m.tmx"), "").unwrap();
    assert!(plan(dir.path(), GOOD).unwrap_err().to_string().contains("[base] model: there is no folder"));
}

#[test]
fn defaults_follow_from_the_languages() {
    let dir = folder();
    let plan_there = plan(dir.path(), GOOD).unwrap();
    assert_eq!((plan_there.template.name(), plan_there.source_template.name()), ("alpaca-ru", "alpaca-en"));
    assert_eq!(plan_there.eval.language.as_deref(), Some("ru"));
    assert_eq!(plan_there.eval.limit, Some(200));
    assert!(plan_there.replay_share > 0.0);
    assert_eq!(plan_there.translate.as_ref().map(|t| (&*t.from, &*t.to)), Some(("en", "ru")));
    let text = "data = { path = 'd.jsonl', from = 'uk', to = 'uk' }\nbase = { model = 'm' }\n";
    let ukrainian = plan(dir.path(), text).unwrap();
    assert_eq!((ukrainian.template.name(), ukrainian.replay_share), ("alpaca-en", 0.0));
}

#[test]
fn a_resolved_recipe_is_a_recipe_of_the_same_run() {
    let dir = folder();
    let text = format!(
        "{GOOD}[train]\nstep_examples = 8\n[clean]\ncode = false\n[eval]\nminimum = {{ exact_match = 0.5 }}\n"
    );
    let before = plan(dir.path(), &text).unwrap();
    let resolved = toml::to_string(&before.resolved()).unwrap();
    let after = plan(dir.path(), &resolved).unwrap();
    assert_eq!(after.resolved(), before.resolved());
    assert_eq!(after.train, before.train);
}

/// Every recipe of the repository says nothing that there is not, and nothing impossible.
#[test]
fn the_recipes_of_the_repository_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("assets/demo/recipe.toml")];
    files.extend(std::fs::read_dir(root.join("recipes")).unwrap().map(|entry| entry.unwrap().path()));
    let recipes: Vec<_> = files.iter().filter(|f| f.extension().is_some_and(|e| e == "toml")).collect();
    assert!(recipes.len() >= 3, "{recipes:?}");
    for file in recipes {
        let (recipe, source) = read(file, &[]).unwrap();
        // The files that they name are the user's: only what is missing may be at fault.
        if let Err(failure) = RunPlan::new(recipe, &source) {
            assert_eq!(failure.exit, Exit::Input, "{failure}");
            assert!(failure.to_string().contains("there is no f"), "{failure}");
        }
    }
}
