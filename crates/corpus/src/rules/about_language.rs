//! Exercises about the source language itself. They die in translation: the past tense, the rhyme, the
//! misspelling or the third letter of an English word is not that of its translation.
//!
//! The built-in patterns read English prompts. For another source language the user's own phrases do.

use super::{Phrases, Rule, RuleDescriptor, pattern};
use crate::example::{Body, FieldName};
use crate::language::Language;
use crate::text::excerpt;
use regex::Regex;
use serde::{Deserialize, Serialize};
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
    prompt: Regex,
}

/// A long prompt may mention grammar in passing; what is asked stands at its beginning.
const LOOKED_AT_CHARS: usize = 400;
/// An answer longer than this is an essay, not the solution of an exercise.
const SHORT_ANSWER_BYTES: usize = 300;

static TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(|| {
    let topic = |name, alternatives: &[&str]| Topic { name, prompt: pattern(&alternatives.join("|")) };
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
    r"\bgramma(?:r|rs|tical|tically|rian)\b",
    r"\bsubject[- ]verb\b|\brun[- ]on sentence|\bsentence fragment|\b(?:dangling|misplaced) modifier",
    r"\bsyntax (?:tree|of the)|\bsyntactic|\bmorpheme|\bmorpholog(?:y|ical) of the word|\bproof-?read",
];

const WORD_FORMS: &[&str] = &[
    r"\b(?:verb|past|present|future|correct|different|simple|perfect|continuous|progressive|same|right|appropriate|proper|the|in|wrong|consistent|given|specified|which|what|another) tenses?\b",
    r"\b(?:past|present|future) (?:simple|perfect|continuous|progressive|participle)|\bsimple (?:past|present|future)\b",
    r"\b(?:active|passive|active/passive)[- ](?:voice|form|construction|sentence)|\bpassive to (?:an? )?active|\bactive to (?:a )?passive|\bpassively\b|\bin (?:the )?(?:passive|active)\b",
    r"\b(?:first|second|third|1st|2nd|3rd)[- ]person(?:al)?\b",
    r"\b(?:singular|plural)s?\b|\bpossessive|\bconjugat(?:e|ed|ion|ing)\b|\bcomparative (?:form|adjective|degree)|\bsuperlative",
    r"\b(?:reported|indirect|direct) speech|\bto the (?:negative|affirmative|interrogative|imperative)\b|\b(?:negative|interrogative|imperative|exclamatory|declarative|subjunctive) (?:form|sentence|mood|statement)|\bsubjunctive\b|\bconditional (?:sentence|form|clause)",
    r"\binfinitives?\b|\bgerunds?\b|\bparticiples?\b|\bcontracted form|\bcontractions? (?:in|of|for|from)|\b(?:using|use|without|with|expand the|remove|any) contractions?\b",
];

const PARTS_OF_SPEECH: &[&str] = &[
    r"\bparts? of speech\b|\bpart-of-speech|\bPOS[- ]tag",
    r"\b(?:ad|phrasal |modal |auxiliary |action |helping |linking )?verbs?\b|\b(?:pro|proper |compound |common |collective |abstract )?nouns?\b|\bprepositions?\b|\bprepositional\b|\bconjunctions?\b|\binterjections?\b|\bdeterminers?\b",
    r"\b(?:identify|find|list|underline|highlight|circle|replace|change|insert|add|extract|remove|delete|select|label|point out|choose|classify|substitute|fill in|pick out|name|spot|locate|modify|determine|count|convert|supply|detect|tell)\b[^.?!\n]{0,40}\badjectives?\b",
    r"\badjectives? (?:in|from|with|to the|clause|phrase|form|order|is|are|into)\b|\b(?:sentence|phrase)s?\b[^.?!\n]{0,30}\badjectives?\b|\badjectival\b|\bas an adjective",
    r"\b(?:in)?definite articles?\b|\barticles? \(?[\x22'“‘]?(?:an?|the)[\x22'”’]?[,) /]|[\x22'“‘]an?[\x22'”’]? or [\x22'“‘]?an?[\x22'”’]",
];

const SENTENCE_STRUCTURE: &[&str] = &[
    r"\b(?:subject|predicate|object|complement)s? (?:of|in|from|and (?:the )?(?:predicate|verb|object)) (?:the|this|that|a|each|following|given)?\s*(?:following |given )?(?:sentence|clause|phrase)|\bpredicates?\b|\b(?:direct|indirect) object",
    r"\b(?:in)?dependent clause|\b(?:subordinate|relative|main|noun|adverbial) clauses?\b|\bclauses? in\b|\bsubordinat(?:e|ing)\b|\bcoordinating\b",
    r"\b(?:compound|complex|simple|compound-complex|cumulative|periodic|topic) sentences?\b",
    r"\bsentence (?:structure|type|pattern|diagram)|\b(?:type|kind|structure|syntax) of (?:the |this |a )?(?:given |following )?sentence|\bdiagram (?:the|this) sentence",
    r"\bword order\b|\b(?:rearrange|reorder|arrange|order|unscramble|put|organi[sz]e)\b[^.?!\n]{0,40}\bwords\b|\bwords\b[^.?!\n]{0,30}\b(?:to|into|so that|in order to)\b[^.?!\n]{0,30}\b(?:form|make|create) a (?:\w+ )?(?:sentence|phrase)",
    r"\b(?:join|combine|merge|connect|link|unite)\b[^.?!\n]{0,40}\b(?:two|these|the|both|three|following|given)\b[^.?!\n]{0,20}\bsentences\b",
    r"\bparallel(?:ism)? (?:structure|construction)|\bparallelism\b",
];

const SPELLING: &[&str] = &[
    r"\b(?:mis)?spell(?:ing|ings|ed|t)\b|\bspell[- ]?check|\bspell(?:s)? (?:the|out|it|this|that|each|correctly|\x22|'|“)|\bmisspell|\btypos?\b|\btypographical",
    r"\bpunctuat(?:e|ed|es|ing|ion)\b|\b(?:missing|add|adding|insert|correct|place|placing|put|use|using|remove|needs?|necessary|proper) (?:the |a |any |all |an )?(?:\w+ )?(?:commas?|apostrophes?|semi-?colons?|colons?|quotation marks?|hyphens?|periods? (?:to|at)|exclamation (?:mark|point)s?|question marks?)\b",
    r"\bcapitali[sz](?:e|ed|ing|ation) (?:of|the|each|all|every|any|first|correct|words?|letters?|this|it|in|and|appropriate|where|properly|only|errors?|mistakes?)\b|\b(?:correct|proper|incorrect|incorrectly|correctly) capitali[sz]|\btitle[- ]case|\bcapital letters?|\b(?:upper|lower)[- ]?case letters?",
    r"\bhyphenat|\babbreviat(?:e|ed|es|ion|ions)\b|\bacronyms?\b|\binitialism|\bdiacritic",
];

const MISTAKES: &[&str] = &[
    r"\b(?:correct|fix|find|identify|spot|detect|edit|locate|check|point out|highlight|remove|eliminate|recogni[sz]e|amend|rectify)\b[^.?!\n]{0,40}\b(?:errors?|mistakes?)\b[^.?!\n]{0,20}\b(?:in|from|of|within) (?:the|this|a|that|these|my|each)\b[^.?!\n]{0,20}\b(?:sentence|text|paragraph|passage|phrase|writing|essay|letter|email|piece|document|statement)",
    r"\b(?:errors?|mistakes?)\b[^.?!\n]{0,15}\b(?:sentence|paragraph|passage|phrase)|\b(?:sentence|paragraph|phrase)[^.?!\n]{0,25}\b(?:errors?|mistakes?)\b",
    r"^\s*(?:please )?(?:correct|fix) (?:the |this |these |following |given |any |all )+(?:following |given |incorrect |faulty )?(?:sentences?|phrases?|text|errors?|mistakes?)\b",
    r"\b(?:is|are|if|whether) (?:the |this |these |following |given |a )+(?:following |given )?(?:sentence|phrase)s? (?:is |are )?(?:correct|incorrect|right|wrong)\b|\b(?:in)?correct sentence|\bcorrect (?:form|version|usage|use|way to (?:say|write|use|spell|phrase)|word (?:to|for|in|from))\b|\b(?:incorrect|wrong|incorrectly|misused|correct) words?\b",
];

const SOUND: &[&str] = &[
    r"\brhym(?:e|es|ed|ing)\b|\brhyme-scheme|\blimericks?\b|\bhaikus?\b|\btanka\b|\bcinquain|\bvillanelle|\biambic|\bmeter of the (?:poem|line)|\bcouplets?\b|\bsonnets?\b|\btongue[- ]?twister",
    r"\balliterat|\bassonan|\bconsonan(?:ce|t|ts)\b|\bonomatopoe|\bhomophones?|\bhomonyms?|\bhomographs?|\bsyllab(?:le|les|ic|ification)\b|\bvowels?\b|\bphonetic|\bphonem|\bpronounc(?:e|ed|ing|iation)|\bpronunciation|\bsounds? like (?:the word|\x22|')",
];

const LETTERS: &[&str] = &[
    r"\banagrams?\b|\bpalindrom|\bacrostics?\b|\bpangram|\blipogram|\bhangman\b|\bword (?:search|scramble|ladder|jumble)|\bcrosswords?\b|\bscrabble\b|\bunscrambl|\bscrambled?\b[^.?!\n]{0,20}\b(?:word|letter)|\bjumbled",
    r"\b(?:first|last|second|third|fourth|each|every|all|same|which|repeated|missing|final|middle|starting|initial|consecutive|random|alphabet|double|silent|five|six|seven|four|three|\d+)[- ]letters?\b(?: (?:of|in|from|to|words?|the|that|is|and|with|into)|\W*$|[,.])",
    r"\bletters? \(?[\x22'“‘]?[a-z][\x22'”’]?\b(?:[^a-z]|$)|\bletters (?:of|in|from|to) (?:the |a |each |this )?(?:given |following )?(?:\w+ )?(?:words?|alphabet|string|sentence|name|phrase|list|letters)|\bnumber of letters|\bfrom the (?:following |given )?letters\b",
    r"\b(?:start|starts|starting|begin|begins|beginning|end|ends|ending) (?:with|in) (?:the |a |an )?(?:letters? |same |prefix |suffix |vowel |sound |word )*[\x22'“‘]-?[a-z]{1,4}-?[\x22'”’]|\b(?:start|starts|starting|begin|begins|beginning|end|ends|ending) (?:with|in) (?:the |an? )?(?:same )?(?:letter|vowel|sound|consonant)|\b(?:start|starts|starting|begin|begins|beginning|end|ends|ending) with [A-Z]\b",
    r"\b(?:alphabetical|alphabetic|lexicographic(?:al)?) order|\balphabeti[sz]e|\balphabetically\b",
    r"\breverse (?:the )?(?:order of )?(?:the )?(?:following |given |letters|word\b|words\b|string|sentence|characters)|\b(?:word|sentence|string|spelled|written|letters) backwards?\b|\bpig latin\b|\bmorse code\b|\b(?:caesar|substitution|shift|vigen\w+) cipher|\bcipher\b|\brot-?13\b",
    r"\b(?:root|stem|prefix(?:es)?|suffix(?:es)?)\b[^.?!\n]{0,25}\bwords?\b|\bwords?\b[^.?!\n]{0,40}\b(?:root|prefix(?:es)?|suffix(?:es)?)\b|\bprefix(?:es)?\b|\bsuffix(?:es)?\b|\betymolog|\bword origin|\borigin of the word|\blemma|\bstemming\b|\btokeni[sz]e",
];

const COUNTING: &[&str] = &[
    r"\b(?:count|how many|calculate|find|identify|determine|output|give|what is|tell|compute|return|state)\b[^.?!\n]{0,25}\b(?:number of |amount of |total |many )?(?:words|characters|letters|times the word|times [\x22'“‘])\b[^.?!\n]{0,30}\b(?:in|there|does|are|has|used|appears?|occurs?|of the (?:sentence|string|phrase|word|text))\b",
    r"\b(?:count|number|amount) (?:of )?(?:the )?(?:number of )?(?:words|characters) (?:in|of)\b|\bword count of\b|\b(?:length|frequency) of (?:the |each |a )?(?:given |following )?(?:words?|strings?|sentences?|characters?|letters?)\b|\b(?:longest|shortest) (?:word|string)s?\b|\bmost (?:frequent|common|used) (?:word|letter|character)",
];

const WORDPLAY: &[&str] = &[
    r"\bpuns?\b|\bwordplay|\bplay on words|\bword play|\bportmanteau|\boxymoron|\bspoonerism|\bdouble entendre|\bknock[- ]knock",
    r"\bidioms?\b|\bidiomatic|\bslang\b|\bcolloquial|\bclich[eé]s?\b|\bfigures? of speech|\bcollocation|\beuphemism",
];

const ENGLISH: &[&str] = &[
    r"\bEnglish (?:language|words?|phrases?|sentences?|expressions?|vocabulary|alphabet|dictionary|dialects?|slang|usage|text|prose)\b|\b(?:american|british|old|middle|shakespearean|elizabethan|plain|proper|correct|standard|modern|formal|informal|simple|good|better|broken|fluent) English\b|\b(?:in|to|into|from|learn|learning|speak|speaking|is) English\b",
];

/// Antonyms are synonyms' neighbours in every exercise book.
static SYNONYMS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bsynonym|\bantonym"));

/// An answer, or the input, that speaks of language where the instruction does not ("Is it right?").
static TELLING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bgrammatical(?:ly)? (?:in)?correct|\bgrammar (?:mistake|error)|\b(?:past|present|future)(?: \w+)? tense\b|\b(?:active|passive) voice\b|\brhymes? with\b|\bis (?:an anagram|a palindrome|a homophone)|\bsubject-verb agreement|\b(?:mis)?spelled\b|\bspelling (?:mistake|error)|\bthe (?:verb|noun|adjective|adverb|pronoun|preposition)s? (?:is|are|in)\b|\b(?:is|as) an? (?:verb|noun|adjective|adverb|pronoun|preposition|conjunction)\b|\b(?:noun|verb|adjective|adverb): ",
    )
});

/// What looks like one of the topics and is none.
static OTHER_SENSE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(?:magic|magical|cast(?:s|ing)? (?:a|the)|love|evil|dry|cold) spells?\b|\bstem cells?\b|\bmath(?:ematical)? notation",
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
            let (topic, sign) = if self.english { self.english(name, text)? } else { return None };
            Some(format!("{name} is about {topic}: `{}`", excerpt(sign.trim(), 40)))
        })
    }

    fn english<'a>(&self, name: FieldName, text: &'a str) -> Option<(&'static str, &'a str)> {
        let asks = matches!(name, FieldName::Instruction) || (!name.is_answer() && name != FieldName::Input);
        if !asks {
            let solves = name != FieldName::Text && text.len() <= SHORT_ANSWER_BYTES;
            let found = solves.then(|| TELLING.find(text)).flatten()?;
            return Some(("language", found.as_str()));
        }
        if OTHER_SENSE.is_match(text) {
            return None;
        }
        if let (true, Some(found)) = (self.synonyms, SYNONYMS.find(text)) {
            return Some(("synonyms", found.as_str()));
        }
        TOPICS.iter().find_map(|topic| Some((topic.name, topic.prompt.find(text)?.as_str())))
    }
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(LOOKED_AT_CHARS).map_or(text, |(end, _)| &text[..end])
}
