//! Exercises about the source language itself. They die in translation: the past tense, the rhyme, the
//! misspelling or the third letter of an English word is not that of its translation.
//!
//! The built-in patterns read English prompts. For another source language the user's own phrases do.

use super::{Pattern, Phrases, Rule, RuleDescriptor, ascii};
use crate::example::{Body, FieldName};
use crate::language::Language;
use crate::text::excerpt;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::LazyLock;

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::AboutLanguage,
    drops: "an exercise about the source language: grammar, tense, parts of speech, spelling, punctuation, \
            rhyme, anagrams, letters, counting words, idioms (English prompts; phrases of your own for \
            other languages)",
    defaults: "{ synonyms = false, phrases = [] }",
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Also drop exercises in synonyms and antonyms. Most of them survive translation.
    pub synonyms: bool,
    /// More phrases that drop an example when a prompt holds them, in any language.
    pub phrases: Vec<String>,
}

/// The options made ready for a whole data set.
pub(crate) struct Matcher {
    english: bool,
    synonyms: bool,
    phrases: Phrases,
}

/// A topic of exercises and how its prompts read.
struct Topic {
    name: &'static str,
    prompt: Pattern,
}

/// A long prompt may mention grammar in passing; what is asked stands at its beginning.
const LOOKED_AT_CHARS: usize = 400;
/// An answer longer than this is an essay, not the solution of an exercise.
const SHORT_ANSWER_BYTES: usize = 300;

static TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(|| {
    let topic = |name, alternatives: &[&str]| Topic { name, prompt: Pattern::new(&alternatives.join("|")) };
    vec![
        topic("grammar", GRAMMAR),
        topic("word forms", WORD_FORMS),
        topic("parts of speech", PARTS_OF_SPEECH),
        topic("sentence structure", SENTENCE_STRUCTURE),
        topic("spelling and punctuation", SPELLING),
        topic("mistakes in a text", MISTAKES),
        topic("sound", SOUND),
        topic("letters", LETTERS),
        topic("counting words", COUNTING),
        topic("wordplay and idioms", WORDPLAY),
        topic("the English language", ENGLISH),
    ]
});

const GRAMMAR: &[&str] = &[
    r"\b(?:un)?gramma(?:r|tic)",
    r"\bsubject[- ]verb\b|\brun[- ]on sentence|\bsentence fragment|\b(?:dangling|misplaced) modifier",
    r"\bsyntax (?:tree|of the)|\bsyntactic|\bmorpheme|\bmorpholog(?:y|ical) of the word|\bproof-?read",
];

const WORD_FORMS: &[&str] = &[
    r"\btenses?\b",
    r"\b(?:past|present|future) (?:simple|perfect|continuous|progressive|participle)|\bsimple (?:past|present|future)\b",
    r"\b(?:active|passive|active/passive)[- ](?:voice|form|construction|sentence)|\bpassive to (?:an? )?active|\bactive to (?:a )?passive|\bpassively\b|\bin (?:the )?(?:passive|active)\b",
    r"\b(?:first|second|third|1st|2nd|3rd)[- ]person (?:singular|plural|form|pronouns?|verb|conjugation)",
    r"\b(?:singulars?\b|plural)|\bpossessive|\bconjugat(?:e|ed|ion|ing)\b|\bcomparative (?:form|adjective|degree)|\bsuperlative",
    r"\b(?:reported|indirect|direct) speech|\bto the (?:interrogative|imperative)\b|\b(?:interrogative|imperative|exclamatory|declarative|subjunctive) (?:form|sentence|mood|statement)|\bsubjunctive\b|\bconditional (?:sentence|form|clause)",
    r"\binfinitives?\b|\bgerunds?\b|\bparticiples?\b|\bcontracted form|\bcontractions? (?:in|of|for|from)|\b(?:using|use|without|with|expand the|remove|any) contractions?\b",
];

const PARTS_OF_SPEECH: &[&str] = &[
    r"\bparts? of speech\b|\bpart-of-speech|\bPOS[- ]tag",
    r"\b(?:ad|phrasal |modal |auxiliary |action |helping |linking )?verbs?\b|\b(?:pro|proper |compound |common |collective |abstract )?nouns?\b|\bprepositions?\b|\bprepositional\b|\bconjunctions?\b|\binterjections?\b|\bdeterminers?\b",
    r"\badjectives?\b[^\n]{0,60}\b(?:sentence|phrase|clause|noun|verb|word|form)s?\b|\b(?:sentence|phrase|clause|noun|verb|word)s?\b[^\n]{0,60}\badjectives?\b|\badjectival\b|\badverbial\b",
    r"\b(?:in)?definite articles?\b|\barticles? \(?[\x22']?(?:an?|the)[\x22']?[,)/]|[\x22']an?[\x22']? or [\x22']?an?[\x22']",
];

const SENTENCE_STRUCTURE: &[&str] = &[
    r"\b(?:subject|predicate|object|complement)s? (?:of|in|from|and (?:the )?(?:predicate|verb|object)) (?:the|this|that|a|each|following|given)?\s*(?:following |given )?(?:sentence|clause|phrase)|\bpredicates?\b|\b(?:direct|indirect) object",
    r"\b(?:in)?dependent clause|\b(?:subordinate|relative|main|noun|adverbial) clauses?\b|\bclauses? (?:in|of) (?:the |this |a )?(?:given |following )?sentence|\bsubordinat(?:e|ing)\b|\bcoordinating\b",
    r"\b(?:compound|complex|compound-complex|cumulative|periodic) (?:sentences?|words?)\b",
    r"\bsentence (?:structure|type|pattern|diagram)|\b(?:type|kind|structure|syntax) of (?:the |this |a )?(?:given |following )?sentence|\bdiagram (?:the|this) sentence",
    r"\bword order\b|\b(?:rearrange|reorder|arrange|order|unscramble|put|organi[sz]e)\b[^.?!\n]{0,40}\bwords\b|\bwords\b[^.?!\n]{0,30}\b(?:to|into|so that|in order to)\b[^.?!\n]{0,30}\b(?:form|make|create) a (?:\w+ )?(?:sentence|phrase)",
    r"\bparallel(?:ism)? (?:structure|construction)|\bparallelism\b",
];

const SPELLING: &[&str] = &[
    r"\b(?:mis)?spell(?:ing|ings|ed|t)\b|\bspell[- ]?check|\bspell(?:s)? (?:the|out|it|this|that|each|correctly|\x22|')|\bmiss?pel|\btypos?\b|\btypographical",
    r"\bpunctuat|\b(?:missing|add|adding|insert|correct|place|placing|put|use|using|remove|needs?|necessary|proper) (?:the |a |any |all |an )?(?:\w+ )?(?:commas?|apostrophes?|semi-?colons?|colons?|quotation marks?|hyphens?|periods? (?:to|at)|exclamation (?:mark|point)s?|question marks?)\b",
    r"\bcapitali[sz](?:e|ed|ing|ation) (?:of|the|each|all|every|any|first|correct|words?|letters?|this|it|in|and|appropriate|where|properly|only|errors?|mistakes?)\b|\b(?:correct|proper|incorrect|incorrectly|correctly) capitali[sz]|\btitle[- ]case|\bcapital letters?|\b(?:upper|lower)[- ]?case letters?",
    r"\bhyphenat|\babbreviat(?:e|ed|es|ion|ions)\b|\bacronyms?\b|\binitialism|\bdiacritic",
];

const MISTAKES: &[&str] = &[
    r"\b(?:correct|fix|find|identify|spot|detect|edit|locate|check|point out|highlight|remove|eliminate|recogni[sz]e|amend|rectify)\b[^.?!\n]{0,40}\b(?:errors?|mistakes?)\b[^.?!\n]{0,20}\b(?:in|from|of|within) (?:the|this|a|that|these|my|each)\b[^.?!\n]{0,20}\b(?:sentence|text|paragraph|passage|phrase|writing|essay|letter|email|piece|document|statement)",
    r"\b(?:errors?|mistakes?)\b[^.?!\n]{0,15}\b(?:sentence|paragraph|passage|phrase)|\b(?:sentence|paragraph|phrase)[^.?!\n]{0,25}\b(?:errors?|mistakes?)\b",
    r"^\s*(?:please )?(?:correct|fix) (?:the |this |these |following |given |any |all )+(?:following |given |incorrect |faulty )?(?:sentences?|phrases?|text|errors?|mistakes?)\b",
    r"\b(?:is|are|if|whether) (?:the |this |these |following |given |a )+(?:following |given )?(?:sentence|phrase)s? (?:is |are )?(?:correct|incorrect|right|wrong)\b|\bsentences?\b[^.?!\n]{0,40}(?:\bis|it's|\bare) (?:in)?correct\b|\b(?:in)?correct sentence|\bcorrect (?:form|version|usage|use|way to (?:say|write|use|spell|phrase)|word (?:to|for|in|from))\b|\b(?:incorrect|wrong|incorrectly|misused|correct) words?\b",
];

const SOUND: &[&str] = &[
    r"\brhym(?:e|es|ed|ing)\b|\brhyme-scheme|\blimericks?\b|\bhaikus?\b|\btanka\b|\bcinquain|\bvillanelle|\biambic|\bmeter of the (?:poem|line)|\bcouplets?\b|\bsonnets?\b|\btongue[- ]?twister",
    r"\balliterat|\bassonan|\bconsonan(?:ce|t|ts)\b|\bonomatopoe|\bhomophones?|\bhomonyms?|\bhomographs?|\bsyllab(?:le|les|ic|ification)\b|\bvowels?\b|\bphonetic|\bphonem|\bpronounc(?:e|ed|ing|iation)|\bpronunciation|\bsounds? like (?:the word|\x22|')",
];

const LETTERS: &[&str] = &[
    r"\banagrams?\b|\bpalindrom|\bacrostics?\b|\bpangram|\blipogram|\bhangman\b|\bword (?:search|scramble|ladder|jumble)|\bcrosswords?\b|\bscrabble\b|\bunscrambl|\bscrambled?\b[^.?!\n]{0,20}\b(?:word|letter)|\bjumbled",
    r"\b(?:first|last|second|third|fourth|each|every|all|same|which|repeated|missing|final|middle|starting|initial|consecutive|random|alphabet|double|silent|five|six|seven|four|three|\d+)[- ]letters?\b(?: (?:of|in|from|to|words?|the|that|is|and|with|into)|\W*$|[,.])",
    r"\bletters? \(?[\x22']?[a-z][\x22']?\b(?:[^a-z]|$)|\bletters (?:of|in|from|to) (?:the |a |each |this )?(?:given |following )?(?:\w+ )?(?:words?|alphabet|string|sentence|name|phrase|list|letters)|\bnumber of letters|\bfrom the (?:following |given )?letters\b",
    r"\b(?:start|starts|starting|begin|begins|beginning|end|ends|ending) (?:with|in) (?:the |a |an )?(?:letters? |same |prefix |suffix |vowel |sound |word )*[\x22']-?[a-z]{1,4}-?[\x22']|\b(?:start|starts|starting|begin|begins|beginning|end|ends|ending) (?:with|in) (?:the |an? )?(?:same )?(?:letter|vowel|sound|consonant)|\b(?:start|starts|starting|begin|begins|beginning|end|ends|ending) with [A-Z]\b",
    r"\b(?:alphabetical|alphabetic|lexicographic(?:al)?) order|\balphabeti[sz]e|\balphabetically\b",
    r"\bwords in reverse\b|\balphabet backwards?\b|\bsubstrings?\b|\bletters long\b|\breverse (?:the |this )?(?:order of )?(?:the )?(?:following |given )?(?:letters|word\b|words\b|string|sentence|characters|phrase|text)|\b(?:word|sentence|string|spelled|written|letters) backwards?\b|\bpig latin\b|\bmorse code\b|\b(?:caesar|substitution|shift|vigen\w+) cipher|\bcipher\b|\brot-?13\b",
    r"\b(?:root|stem|prefix(?:es)?|suffix(?:es)?)\b[^.?!\n]{0,25}\bwords?\b|\bwords?\b[^.?!\n]{0,40}\b(?:root|prefix(?:es)?|suffix(?:es)?)\b|\bprefix(?:es)?\b|\bsuffix(?:es)?\b|\betymolog|\bword origin|\borigin of the word|\blemma|\bstemming\b|\btokeni[sz]e",
];

const COUNTING: &[&str] = &[
    r"\b(?:count|how many|number of times|times does)\b[^.?!\n]{0,30}\b(?:words|characters|letters|the word|the phrase|[\x22'][a-z]+[\x22'])\b|\bnumber of (?:words|characters) (?:in|of|are|there|that)\b|\bword count (?:of|for)\b",
    r"\b(?:find|return|calculate|determine|compute|output|what is|get|give|measure)\b[^.?!\n]{0,20}\b(?:length|frequency) of (?:the |each |a |this )?(?:given |following |longest )?(?:words?|strings?|sentences?|characters?|letters?)\b|\b(?:longest|shortest) (?:and (?:longest|shortest) )?(?:word|string)s?\b|\bmost (?:frequent|common|used|frequently used|commonly used) (?:word|letter|character)",
];

const WORDPLAY: &[&str] = &[
    r"\bpuns?\b|\bwordplay|\bplay on words|\bword play|\bportmanteau|\boxymoron|\bspoonerism|\bdouble entendre|\bknock[- ]knock",
    r"\bidioms?\b|\bidiomatic|\bslang\b|\bcolloquial|\bcliches?\b|\bfigures? of speech|\bcollocation|\beuphemism",
];

const ENGLISH: &[&str] = &[
    r"\bEnglish (?:language|words?|phrases?|sentences?|expressions?|vocabulary|alphabet|dictionary|dialects?|slang|usage|text|prose)\b|\b(?:american|british|old|middle|shakespearean|elizabethan|plain|proper|correct|standard|modern|formal|informal|simple|good|better|broken|fluent) English\b|\b(?:in|to|into|from|learn|learning|speak|speaking|is) English\b",
];

/// Antonyms are synonyms' neighbours in every exercise book.
static SYNONYMS: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"\bsynonym|\bantonym"));

/// An answer that speaks of language where the instruction does not ("Is it right?").
static TELLING: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"\bgrammatical(?:ly)? (?:in)?correct|\b(?:has|contains?|there (?:is|are)|no|the|an?) (?:\w+ )?(?:spelling|grammar|grammatical) (?:mistake|error)|\b(?:past|present|future)(?: \w+)? tense\b|\b(?:in|an?|uses?) (?:the )?(?:active|passive) voice\b|\brhymes with\b|\bis (?:an anagram|a palindrome|a homophone)|\bsubject-verb agreement|\bmisspelled\b|\bthe (?:verb|noun|adjective|adverb|pronoun|preposition)s? (?:is|are)\b|\b(?:is|as) an? (?:verb|noun|adjective|adverb|pronoun|preposition|conjunction)\b|\b(?:noun|verb|adjective|adverb): ",
    )
});

/// An input that carries the question.
static INPUT: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"\b(?:past|present|future)(?: \w+)? tense\b|\b(?:active|passive) voice\b|\bparts? of speech\b|^\s*(?:verb|noun|adjective|adverb|tense)s?\s*:|\n(?:verb|noun|adjective|adverb|tense)s?\s*:|\brhymes with\b",
    )
});

/// What looks like one of the topics and is none.
static OTHER_SENSE: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"\b(?:magic|magical|cast(?:s|ing)? (?:a|the)|love|evil|dry|cold) spells?\b|\bstem cells?\b|\btense (?:situation|moment|atmosphere|mood|scene|relationship|negotiation|muscle|conversation|meeting)|\b(?:feel|feels|feeling|felt|is|was|are|were|very|so|get|getting|and|or) tense\b|\bfactual|\bpasswords?\b",
    )
});

impl Matcher {
    pub(super) fn new(options: &Options, language: Option<&Language>) -> Self {
        let english = language.is_some_and(|language| language.code == "en");
        Self { english, synonyms: options.synonyms, phrases: Phrases::new(&options.phrases) }
    }

    pub(super) fn check(&self, body: &Body) -> Option<String> {
        body.fields().find_map(|(name, text)| {
            let text = beginning(text);
            if let Some(phrase) = (!name.is_answer()).then(|| self.phrases.find(text)).flatten() {
                return Some(format!("{name}: `{phrase}`"));
            }
            if !self.english {
                return None;
            }
            let text = ascii(text);
            let (topic, sign) = self.english(name, &text)?;
            Some(format!("{name} is about {topic}: `{}`", excerpt(sign.trim(), 40)))
        })
    }

    fn english<'t>(&self, name: FieldName, text: &'t str) -> Option<(&'static str, Cow<'t, str>)> {
        match name {
            FieldName::Text => None,
            FieldName::Input => Some(("language", INPUT.find(text)?)),
            _ if name.is_answer() && text.len() > SHORT_ANSWER_BYTES => None,
            _ if name.is_answer() => Some(("language", TELLING.find(text)?)),
            _ if OTHER_SENSE.is_match(text) => None,
            _ => {
                let synonyms = if self.synonyms { SYNONYMS.find(text) } else { None };
                let synonyms = synonyms.map(|sign| ("synonyms", sign));
                synonyms
                    .or_else(|| TOPICS.iter().find_map(|topic| Some((topic.name, topic.prompt.find(text)?))))
            }
        }
    }
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(LOOKED_AT_CHARS).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alpaca, talk};
    use super::*;

    fn check(options: &Options, body: &Body) -> Option<String> {
        Matcher::new(options, Language::find("en")).check(body)
    }

    fn found(prompt: &str) -> Option<String> {
        check(&Options::default(), &alpaca(prompt, "", "Something."))
    }

    #[test]
    fn each_topic_is_found_under_its_name() {
        for (topic, prompt) in [
            ("grammar", "Rewrite the sentence so that it is grammatically correct."),
            ("grammar", "Fix the run-on sentence."),
            ("word forms", "Change the sentence to the past tense."),
            ("word forms", "Convert this sentence from passive to active voice."),
            ("word forms", "Convert the sentence from one tense to another."),
            ("word forms", "Write the plural form of the noun \"ox\"."),
            ("parts of speech", "Find all the verbs in the text."),
            ("parts of speech", "Identify the adjective in the sentence."),
            ("parts of speech", "Should it be 'a' or 'an' before hour?"),
            ("sentence structure", "What is the subject of the sentence?"),
            ("sentence structure", "Rearrange the words to make a sentence: dog the barks"),
            ("spelling and punctuation", "Find the misspelled word."),
            ("spelling and punctuation", "Insert the missing commas."),
            ("spelling and punctuation", "What does the acronym NASA stand for?"),
            ("mistakes in a text", "Find the error in the following sentence."),
            ("sound", "Which word rhymes with ‘taste’?"),
            ("sound", "Write a haiku about rain."),
            ("sound", "How many syllables has 'banana'?"),
            ("letters", "Create an anagram of the word \"listen\"."),
            ("letters", "Name a country that begins with the letter D."),
            ("letters", "Sort the list in alphabetical order."),
            ("counting words", "Count the number of words in the sentence."),
            ("wordplay and idioms", "Make a pun about cats."),
            ("wordplay and idioms", "Explain the idiom “break the ice”."),
            ("the English language", "List differences between American and British English."),
        ] {
            let reason = found(prompt).unwrap_or_default();
            assert!(reason.starts_with(&format!("instruction is about {topic}: ")), "{prompt}: {reason}");
        }
    }

    #[test]
    fn prompts_about_the_world_stay() {
        for prompt in [
            "Summarize the article \"The Impact of Climate Change\".",
            "List five adjectives that describe James Bond.",
            "Write a letter of complaint about a cold meal.",
            "Describe how a witch casts a spell.",
            "Explain what stem cells are.",
            "How did the tense situation in the city end?",
            "Make a sentence with the words dog and house.",
            "What is the opposite of hot?",
            "Identify the main characters in the book.",
            "Generate a password with one uppercase letter.",
            "Explain muscle contraction.",
            "Reduce the length of the given sentence.",
            "Write a poem about the sea in less than 50 words.",
            "Who won the first prize?",
            "Explain it in simple sentences.",
            "Give a synonym for happy.",
            "Describe the plot in three sentences.",
        ] {
            assert_eq!(found(prompt), None, "{prompt}");
        }
    }

    #[test]
    fn an_answer_or_input_can_tell() {
        let options = Options::default();
        let answer = "The sentence is grammatically incorrect; it should read \"Eat healthily\".";
        assert!(check(&options, &alpaca("What is wrong here?", "Eat healthy.", answer)).is_some());
        assert!(
            check(&options, &alpaca("Rewrite it.", "He goes. (Use the past perfect tense)", "He had gone."))
                .is_some()
        );
        let essay = "Use the past tense when you tell a story. ".repeat(20);
        assert_eq!(check(&options, &alpaca("How do I tell a story?", "", &essay)), None);
    }

    #[test]
    fn messages_of_the_user_are_prompts() {
        let options = Options::default();
        assert!(check(&options, &talk(&["Hi", "Hello", "Spell the word 'cat'.", "C-A-T"])).is_some());
        let aside = format!("{} Please mind the grammar.", "Write a story about a bee. ".repeat(30));
        assert_eq!(check(&options, &talk(&[&aside, "Once upon a time…"])), None);
    }

    #[test]
    fn settings_widen_the_rule() {
        let body = alpaca("Give a synonym for happy.", "", "Glad.");
        assert!(check(&Options { synonyms: true, ..Options::default() }, &body).is_some());
        assert!(check(&Options { phrases: vec!["Happy".into()], ..Options::default() }, &body).is_some());
        let russian = alpaca("Просклоняй слово «стол».", "", "Стол, стола…");
        let options = Options { phrases: vec!["просклоняй".into()], ..Options::default() };
        assert!(Matcher::new(&options, Language::find("ru")).check(&russian).is_some());
    }
}
