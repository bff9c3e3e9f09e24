use super::*;

fn check(source: &str, target: &str) -> Verdict {
    Checker::new(&LanguagePair::new("en", "ru").unwrap()).check(source, target)
}

fn finding(source: &str, target: &str) -> Finding {
    match check(source, target) {
        Verdict::Fail(finding) => finding,
        other => panic!("{source:?} → {target:?}: {other:?}"),
    }
}

#[test]
fn good_translations_pass() {
    for (source, target) in [
        ("OK", "Хорошо"),
        ("Hi!", "Привет!"),
        ("Run `ls -l` in [folder] at 10:30.", "Запустите `ls -l` в [folder] в 10:30."),
        (
            "The iPhone 12 of Apple Inc. is on https://apple.com/x now.",
            "iPhone 12 от Apple Inc. сейчас на https://apple.com/x.",
        ),
        ("It is very, very, very big.", "Он очень, очень, очень большой."),
        (
            "The quick brown fox jumps over the lazy dog and runs far away into the forest.",
            "Быстрая коричневая лиса перепрыгивает через ленивую собаку и убегает далеко в лес.",
        ),
    ] {
        assert_eq!(check(source, target), Verdict::Pass, "{source} → {target}");
    }
}

/// LibreTranslate#944, text-generation-webui#4538: placeholders and code came back translated.
#[test]
fn libretranslate_944_placeholders_and_code_must_survive() {
    let lost = |part: &str, expected, found| Finding::Protected { part: part.to_string(), expected, found };
    assert_eq!(finding("Dear [name],", "Уважаемый [имя],"), lost("[name]", 1, 0));
    assert_eq!(finding("Use `print(x)` here", "Используйте `печать(x)` здесь"), lost("`print(x)`", 1, 0));
    assert_eq!(finding("Say {x}", "Скажи {x} {x}"), lost("{x}", 1, 2));
}

#[test]
fn digits_must_survive() {
    assert!(matches!(finding("3 of 12 apples", "3 из 13 яблок"), Finding::Digits { missing, added }
        if missing == ["12"] && added == ["13"]));
    assert!(matches!(finding("Some apples", "5 яблок"), Finding::Digits { .. }));
}

/// fairseq#5108: sentences were dropped.
#[test]
fn fairseq_5108_dropped_and_merged_sentences_are_noticed() {
    let source = "I came home. It was late.";
    assert_eq!(finding(source, "Я пришёл домой."), Finding::Sentences { source: 2, target: 1 });
    assert_eq!(finding(source, "Я пришёл домой, было поздно."), Finding::Sentences { source: 2, target: 1 });
    assert!(matches!(
        finding("A long text about something that matters a lot to many people", "Да"),
        Finding::Length { .. }
    ));
}

#[test]
fn torn_sentences_are_noticed() {
    assert_eq!(finding("I came home.", "Я пришёл домой,"), Finding::Torn);
    assert_eq!(finding("Say \"I am here.\"", "Скажи «Я здесь.»,"), Finding::Torn);
    assert_eq!(check("It was late.", "было поздно."), Verdict::Doubt(Finding::Torn));
    assert_eq!(finding("B. Deforestation", "Б."), Finding::Torn);
    assert_eq!(check("C. Cirrus", "Перистое"), Verdict::Doubt(Finding::Torn));
    assert_eq!(check("C. Cirrus", "В. Перистое"), Verdict::Pass);
    assert_eq!(check("\"It was late.\"", "«Было поздно».",), Verdict::Pass);
}

#[test]
fn what_is_not_in_the_target_language_is_noticed() {
    assert_eq!(finding("Where is the house", "Where is the house"), Finding::Untranslated);
    assert_eq!(finding("Where is the house", "where is the house?"), Finding::Untranslated);
    assert_eq!(check("Microsoft Windows", "Microsoft Windows"), Verdict::Doubt(Finding::Untranslated));
    assert_eq!(
        finding("Where is the house", "Wo ist das Haus"),
        Finding::Foreign { word: "ist".to_string() }
    );
    assert_eq!(
        finding("Where is the house", "Де знаходиться її будинок"),
        Finding::Foreign { word: "її".to_string() }
    );
    assert_eq!(finding("Where is it", "Где Haus"), Finding::Foreign { word: "Haus".to_string() });
    assert!(matches!(
        check("The house on the hill is old and red", "Дом the hill is old and red"),
        Verdict::Doubt(Finding::PartlyUntranslated { .. })
    ));
}

#[test]
fn languages_of_one_script_are_told_by_statistics() {
    let german = Checker::new(&LanguagePair::new("en", "de").unwrap());
    let wrong = |found: &str, code: &str| {
        Verdict::Fail(Finding::WrongLanguage { found: found.into(), code: code.into() })
    };
    let source = "The weather was very nice yesterday and we went to the sea together.";
    let good = "Das Wetter war gestern sehr schön und wir sind zusammen ans Meer gefahren.";
    assert_eq!(german.check(source, good), Verdict::Pass);
    let english = "Yesterday the weather was really nice so we all went to the sea.";
    assert_eq!(german.check(source, english), wrong("English", "en"));
    let french = "Hier il faisait très beau et nous sommes allés à la mer tous ensemble.";
    assert_eq!(german.check(source, french), wrong("French", "fr"));
    assert_eq!(german.check("Berlin", "Berlin"), Verdict::Doubt(Finding::Untranslated));
    assert_eq!(german.check("the house", "the house"), Verdict::Fail(Finding::Untranslated));
}

#[test]
fn the_first_word_may_stand_behind_a_bar() {
    assert_eq!(
        check("| Sales | Qty |   Date    |", "| салес | чты |   дате    |"),
        Verdict::Doubt(Finding::Torn)
    );
}
