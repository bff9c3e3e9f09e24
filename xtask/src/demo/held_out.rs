//! Proofs of what `assets/demo/README.md` says about held-out examples.

use super::rows::{Fields, Row};
use super::wording::{Pattern, Role};
use super::{SEED, Texts, kinds, texts, tokenizer, write_texts};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::LazyLock;
use tolmach_corpus::{Body, CleanConfig, Example, clean};

static TEXTS: LazyLock<Texts> = LazyLock::new(|| texts(SEED).unwrap());

/// Letters and digits only, lower case, single spaces.
fn folded(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

fn prompt(fields: &Fields) -> String {
    format!("{} | {}", folded(&fields.instruction), folded(&fields.input))
}

fn both_languages(row: &Row) -> [&Fields; 2] {
    [&row.en, &row.ru]
}

/// The row's number of its task, as `kind-TASK`.
fn task(row: &Row) -> &str {
    row.id.rsplit_once('-').unwrap().0
}

/// Whether `text` could come from `pattern` with anything in its slots.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut pieces =
        pattern.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, literal)| literal));
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap()) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn fits_tells_wordings_apart() {
    assert!(fits("Name the capital of {x}.", "Name the capital of France."));
    assert!(!fits("Name the capital of {x}.", "Name the colour of grass."));
    assert!(fits("{X}: name the group.", "A cat: name the group."));
    assert!(!fits("Make a sentence.", "Make a sentence: a, b."));
}

#[test]
fn there_are_enough_rows_and_every_kind_has_its_share() {
    assert!(TEXTS.test.len() >= 150, "{}", TEXTS.test.len());
    assert!(TEXTS.validation.len() >= 80, "{}", TEXTS.validation.len());
    assert!((2_500..=4_000).contains(&TEXTS.training.len()), "{}", TEXTS.training.len());
    let mut kinds: HashMap<&str, usize> = HashMap::new();
    TEXTS.test.iter().for_each(|row| *kinds.entry(row.kind).or_default() += 1);
    assert!(kinds.len() == 7 && kinds.values().all(|&n| n >= 20), "{kinds:?}");
}

#[test]
fn no_two_rows_of_a_set_are_the_same() {
    for rows in [&TEXTS.training, &TEXTS.validation, &TEXTS.test] {
        for fields in [rows.iter().map(|r| &r.en).collect::<Vec<_>>(), rows.iter().map(|r| &r.ru).collect()] {
            let different: HashSet<String> = fields.iter().map(|f| prompt(f)).collect();
            assert_eq!(different.len(), rows.len());
        }
    }
}

#[test]
fn no_held_out_instruction_is_in_training_and_none_of_the_test_in_validation() {
    let prompts =
        |rows: &[Row]| -> HashSet<String> { rows.iter().flat_map(both_languages).map(prompt).collect() };
    let (training, validation, test) =
        (prompts(&TEXTS.training), prompts(&TEXTS.validation), prompts(&TEXTS.test));
    for (a, b) in [(&training, &validation), (&training, &test), (&validation, &test)] {
        assert_eq!(a.intersection(b).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

#[test]
fn no_held_out_wording_is_in_training() {
    let kinds = kinds::all(SEED);
    let held_out = kinds.iter().flat_map(|k| k.wordings).filter(|w| w.role != Role::Training);
    for wording in held_out {
        for row in &TEXTS.training {
            for (pattern, fields) in [(wording.en, &row.en), (wording.ru, &row.ru)] {
                let Pattern { instruction, input } = pattern;
                let same =
                    fits(instruction, &fields.instruction) && input.is_empty() == fields.input.is_empty();
                assert!(!same, "{instruction:?} fits the training row {fields:?}");
            }
        }
    }
}

#[test]
fn no_test_wording_is_in_validation() {
    for kind in kinds::all(SEED) {
        for wording in kind.wordings.iter().filter(|w| w.role == Role::Test) {
            for row in TEXTS.validation.iter().filter(|row| row.kind == kind.name) {
                assert!(!fits(wording.ru.instruction, &row.ru.instruction), "{:?}", row.ru);
            }
        }
    }
}

/// A held-out instruction that were a trained one with a word before it would be too easy.
#[test]
fn no_held_out_instruction_contains_a_trained_one() {
    let mut trained: HashMap<&str, Vec<String>> = HashMap::new();
    for row in TEXTS.training.iter().filter(|row| row.ru.input.is_empty() && row.kind != "stories") {
        trained.entry(task(row)).or_default().push(folded(&row.ru.instruction));
    }
    for row in TEXTS.validation.iter().chain(&TEXTS.test) {
        let held_out = folded(&row.ru.instruction);
        for trained in trained.get(task(row)).into_iter().flatten() {
            assert!(!held_out.contains(trained.as_str()), "{held_out:?} contains {trained:?}");
        }
    }
}

#[test]
fn a_fact_is_trained_in_other_wordings_and_a_composed_task_nowhere() {
    let composed: HashSet<&str> =
        kinds::all(SEED).iter().filter(|kind| kind.is_composed()).map(|kind| kind.name).collect();
    assert_eq!(composed, HashSet::from(["counting", "sentences"]));
    let mut wordings: HashMap<&str, usize> = HashMap::new();
    TEXTS.training.iter().for_each(|row| *wordings.entry(task(row)).or_default() += 1);
    for row in TEXTS.validation.iter().chain(&TEXTS.test) {
        let trained = wordings.get(task(row)).copied().unwrap_or(0);
        if composed.contains(row.kind) {
            assert_eq!(trained, 0, "{row:?}");
        } else {
            assert!(trained >= 4, "{row:?} is known from {trained} wordings only");
        }
    }
}

#[test]
fn the_answer_of_a_composed_task_is_no_text_of_training_or_pretraining() {
    let mut seen: HashSet<String> = HashSet::new();
    for example in &TEXTS.pretraining {
        seen.insert(folded(match &example.body {
            Body::Alpaca { output, .. } => output,
            Body::Text { text } => text,
            Body::Messages { .. } => panic!("no conversation is expected"),
        }));
    }
    seen.extend(TEXTS.training.iter().flat_map(both_languages).map(|fields| folded(&fields.output)));
    let composed = |row: &&Row| row.kind == "counting" || row.kind == "sentences";
    for row in TEXTS.validation.iter().chain(&TEXTS.test).filter(composed) {
        assert!(
            !seen.contains(&folded(&row.en.output)) && !seen.contains(&folded(&row.ru.output)),
            "{row:?}"
        );
    }
}

#[test]
fn pretraining_asks_nothing_that_is_held_out_and_nothing_in_russian() {
    let cyrillic = |text: &str| text.chars().any(|c| ('\u{400}'..='\u{4ff}').contains(&c));
    let held_out: HashSet<String> =
        TEXTS.validation.iter().chain(&TEXTS.test).flat_map(both_languages).map(prompt).collect();
    for example in &TEXTS.pretraining {
        if let Body::Alpaca { instruction, input, output } = &example.body {
            assert!(![instruction, input, output].into_iter().any(|text| cyrillic(text)), "{example:?}");
            let fields =
                Fields { instruction: instruction.clone(), input: input.clone(), output: output.clone() };
            assert!(!held_out.contains(&prompt(&fields)), "{example:?}");
        }
    }
}

/// An answer of one word ("Paris") may occur in a sentence; one of several may not, in any row.
#[test]
fn no_plain_sentence_is_an_answer_or_holds_one_of_several_words() {
    let rows = || TEXTS.training.iter().chain(&TEXTS.validation).chain(&TEXTS.test);
    let answers: HashSet<String> =
        rows().flat_map(both_languages).map(|fields| folded(&fields.output)).collect();
    let composed: Vec<&String> = answers.iter().filter(|answer| answer.contains(' ')).collect();
    let mut plain = 0;
    for example in &TEXTS.pretraining {
        if let Body::Text { text } = &example.body {
            let text = folded(text);
            assert!(!answers.contains(&text), "{text}");
            let told = composed.iter().find(|answer| text.contains(answer.as_str()));
            assert_eq!(told, None, "in {text:?}");
            plain += 1;
        }
    }
    assert!(plain > 5_000, "{plain}");
}

#[test]
fn an_instruction_has_one_answer() {
    let mut answers: HashMap<String, &str> = HashMap::new();
    for fields in TEXTS.training.iter().chain(&TEXTS.validation).chain(&TEXTS.test).flat_map(both_languages) {
        let answer = answers.entry(prompt(fields)).or_insert(&fields.output);
        assert_eq!(*answer, fields.output, "{fields:?}");
    }
}

/// With the default rules: each dirty row goes by the rule that its id names, and no good row goes.
#[test]
fn cleaning_finds_the_dirt_and_nothing_else() {
    let cleaned = clean(TEXTS.instructions.clone(), &CleanConfig::default(), "en", |_| {});
    let good: HashSet<&str> = TEXTS.training.iter().map(|row| row.id.as_str()).collect();
    let kept: HashSet<&str> = cleaned.kept.iter().map(|e: &Example| e.id.as_str()).collect();
    let wrong: Vec<String> = cleaned
        .dropped
        .iter()
        .filter(|d| !d.example.id.starts_with(&format!("dirt-{}-", d.rule)))
        .map(|d| format!("{} by {}: {}", d.example.id, d.rule, d.reason))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(kept.difference(&good).collect::<Vec<_>>(), Vec::<&&str>::new(), "dirt that was kept");
    assert_eq!(kept.len(), good.len());
}

fn files(folder: &Path) -> Vec<(String, blake3::Hash)> {
    const NAMES: [&str; 8] = [
        "data/instructions.en.jsonl",
        "data/memory.en-ru.tmx",
        "data/validation.en.jsonl",
        "data/validation.ru.jsonl",
        "data/test.en.jsonl",
        "data/test.ru.jsonl",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
    ];
    NAMES.map(|name| (name.to_string(), blake3::hash(&std::fs::read(folder.join(name)).unwrap()))).to_vec()
}

/// Made again, every byte is the same, and the same as what is committed.
#[test]
fn the_assets_are_what_this_code_makes() {
    let folder = tempfile::tempdir().unwrap();
    let again = texts(SEED).unwrap();
    write_texts(&again, &tokenizer(&again).unwrap(), folder.path()).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo");
    assert_eq!(files(folder.path()), files(&committed), "run `cargo xtask demo-assets` after a change here");
}

/// Making it takes minutes; that the committed one is the one that was made is seen from its hash.
#[test]
fn the_base_model_is_the_one_that_the_readme_names() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo");
    let hash = blake3::hash(&std::fs::read(committed.join("model/model.safetensors")).unwrap());
    let readme = std::fs::read_to_string(committed.join("README.md")).unwrap();
    assert!(readme.contains(hash.to_hex().as_str()), "README.md does not name BLAKE3 {hash}");
}

#[test]
fn another_seed_gives_other_texts() {
    assert_ne!(texts(SEED + 1).unwrap().test, TEXTS.test);
}
