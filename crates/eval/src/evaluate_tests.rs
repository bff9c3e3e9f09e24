use super::*;
use crate::EvalConfig;
use crate::testing;
use tempfile::TempDir;
use tolmach_engine::CpuBackend;

fn example(instruction: &str, output: &str) -> Example {
    let (instruction, output) = (instruction.to_string(), output.to_string());
    Example::new(Body::Alpaca { instruction, input: String::new(), output })
}

fn examples(instructions: &[&str], output: &str) -> Vec<Example> {
    instructions.iter().map(|i| example(i, output)).collect()
}

const RUSSIAN: [&str; 5] = ["Назови столицу.", "Сколько будет два?", "Кот?", "Какого цвета небо?", "Дом."];
const ENGLISH: [&str; 4] = ["Name the capital.", "How much is two?", "The cat?", "What colour is the sky?"];

/// A base, and an adapter that changes what it says.
struct Models {
    base: TempDir,
    adapter: TempDir,
}

impl Models {
    fn new(trained: bool) -> Models {
        let models = Models { base: tempfile::tempdir().unwrap(), adapter: tempfile::tempdir().unwrap() };
        testing::write_model(models.base.path(), 1);
        testing::write_adapter(models.adapter.path(), 1, &["embed_tokens", "lm_head"], trained);
        models
    }

    fn evaluate(
        &self,
        tuned: bool,
        target: &[Example],
        source: &[Example],
        config: &EvalConfig,
    ) -> Evaluation {
        let (ru, en) =
            (PromptTemplate::named("alpaca-ru").unwrap(), PromptTemplate::named("alpaca-en").unwrap());
        let source = EvalSet { examples: source, template: &en, language: Language::find("en") };
        let sets = EvalSets {
            target: EvalSet { examples: target, template: &ru, language: Language::find("ru") },
            source: (!source.examples.is_empty()).then_some(source),
            text: &[],
            source_text: &[],
        };
        let tokenizer = testing::tokenizer();
        let subject =
            Subject { base: self.base.path(), adapter: tuned.then_some(self.adapter.path()), tokenizer };
        let settings = config.settings().unwrap();
        evaluate(Arc::new(CpuBackend::new()), subject, &sets, &settings, &mut |_| ()).unwrap()
    }
}

fn short() -> EvalConfig {
    EvalConfig { max_new_tokens: Some(12), ..EvalConfig::default() }
}

#[test]
fn chinese_llama_alpaca_2_442_forgotten_english_is_measured() {
    let models = Models::new(true);
    let asked = models.evaluate(false, &examples(&RUSSIAN, "да"), &examples(&ENGLISH, "yes"), &short());
    // What the base says is what it should still say.
    let said: Vec<Example> =
        asked.replies.iter().filter(|r| r.set == "source").map(|r| example(&r.prompt, &r.base)).collect();
    assert_eq!(said.len(), 4);
    let card = models.evaluate(true, &examples(&RUSSIAN, "да"), &said, &short()).card;
    let tuned = card.tuned.unwrap();
    assert_eq!(card.base.source_exact_match, Some(1.0));
    assert_eq!(tuned.source_exact_match, Some(0.0));
    assert!(tuned.source_bits_per_byte.unwrap() > card.base.source_bits_per_byte.unwrap());
    assert!(card.control.holds() && card.control.tuned_differs_from_base == Some(true));
}

#[test]
fn unsloth_4503_the_base_of_a_pair_says_what_the_base_alone_says() {
    let models = Models::new(true);
    let target = examples(&RUSSIAN, "да");
    let alone = models.evaluate(false, &target, &[], &short());
    let beside = models.evaluate(true, &target, &[], &short());
    let base = |e: &Evaluation| e.replies.iter().map(|r| r.base.clone()).collect::<Vec<_>>();
    assert_eq!(base(&alone), base(&beside));
    assert_eq!(alone.card.base, beside.card.base);
    assert!(beside.replies.iter().all(|r| r.tuned.as_ref() != Some(&r.base)));
    assert!(alone.card.tuned.is_none() && alone.card.adapter.is_none());
}

#[test]
fn alpaca_lora_293_an_adapter_that_changes_nothing_is_told() {
    let models = Models::new(false);
    let card = models.evaluate(true, &examples(&RUSSIAN, "да"), &[], &short()).card;
    assert_eq!(card.control.tuned_differs_from_base, Some(false));
    assert!(card.control.holds());
    assert_eq!(card.tuned.unwrap(), card.base);
}

#[test]
fn figures_do_not_depend_on_the_batch() {
    let models = Models::new(true);
    let target = examples(&RUSSIAN, "да");
    let one = models.evaluate(true, &target, &[], &EvalConfig { batch: 1, ..short() });
    let many = models.evaluate(true, &target, &[], &EvalConfig { batch: 4, ..short() });
    assert_eq!((one.replies, one.card.tuned), (many.replies, many.card.tuned));
}

#[test]
fn plain_texts_are_scored_and_continued() {
    let models = Models::new(true);
    let story = "Жили-были дед и баба, и была у них курочка Ряба. Снесла курочка яичко.";
    let texts = [Example::new(Body::Text { text: story.into() })];
    let card = models.evaluate(true, &texts, &[], &short()).card;
    assert_eq!((card.base.examples, card.base.exact_match), (1, None));
    // A random model knows nothing: about log2 of the vocabulary per token.
    let tokens = testing::tokenizer().encode(story, false).unwrap().ids.len();
    let nothing = (testing::VOCAB as f64).log2() * tokens as f64 / story.len() as f64;
    let bits = card.base.bits_per_byte.unwrap();
    assert!((bits / nothing - 1.0).abs() < 0.05, "{bits} {nothing}");
    assert_eq!((card.samples[0].reference.as_deref(), card.template.as_str()), (None, "none"));
}

#[test]
fn samples_come_from_both_sets() {
    let models = Models::new(true);
    let config = EvalConfig { samples: 4, ..short() };
    let card = models.evaluate(false, &examples(&RUSSIAN, "да"), &examples(&ENGLISH, "yes"), &config).card;
    let sets: Vec<&str> = card.samples.iter().map(|s| s.set.as_str()).collect();
    assert_eq!(sets, ["target", "target", "target", "source"]);
}

#[test]
fn sampling_is_described_and_marks_are_read() {
    assert_eq!(describe(&SamplingConfig::default()), "greedy");
    let warm = SamplingConfig { temperature: 0.7, repetition_penalty: 1.1, ..SamplingConfig::default() };
    assert_eq!(describe(&warm), "temperature 0.7, top-p 1, top-k 0, seed 0, repetition penalty 1.1");
    let mut marked = examples(&RUSSIAN, "да");
    assert!(marked_language(&marked).is_none());
    marked[1].language = Some("ru".into());
    assert_eq!(marked_language(&marked).unwrap().code, "ru");
    marked[2].language = Some("en".into());
    assert!(marked_language(&marked).is_none());
}
