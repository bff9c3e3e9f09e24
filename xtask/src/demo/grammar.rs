//! As much grammar as the demo's texts need: Russian gender, agreement and numerals, English
//! articles and plurals.

/// The gender of a Russian noun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gender {
    Masculine,
    Feminine,
    Neuter,
}

/// Short names for the word lists.
pub use Gender::{Feminine as F, Masculine as M, Neuter as N};

/// A noun in both languages.
#[derive(Clone, Copy, Debug)]
pub struct Noun {
    pub en: &'static str,
    pub ru: &'static str,
    pub gender: Gender,
}

pub const fn noun(en: &'static str, ru: &'static str, gender: Gender) -> Noun {
    Noun { en, ru, gender }
}

/// An adjective in both languages; Russian in its dictionary form (nominative, masculine).
#[derive(Clone, Copy, Debug)]
pub struct Adjective {
    pub en: &'static str,
    pub ru: &'static str,
}

pub const fn adjective(en: &'static str, ru: &'static str) -> Adjective {
    Adjective { en, ru }
}

impl Adjective {
    /// The nominative singular that agrees with a noun of this gender.
    ///
    /// Hard stems end in -ый or -ой (красный, красная, красное; большой, большая, большое). Of those
    /// in -ий, a stem in г, к, х has hard endings (маленький, маленькая, маленькое), one in a hushing
    /// sound has -ая and -ее (хороший, хорошая, хорошее), any other is soft (синий, синяя, синее).
    pub fn agreeing(self, gender: Gender) -> String {
        let Some(stem) = ["ый", "ой", "ий"].iter().find_map(|ending| self.ru.strip_suffix(ending))
        else {
            return self.ru.to_string();
        };
        let last = stem.chars().next_back();
        let (feminine, neuter) = match last {
            _ if !self.ru.ends_with("ий") => ("ая", "ое"),
            Some('г' | 'к' | 'х') => ("ая", "ое"),
            Some('ж' | 'ш' | 'ч' | 'щ') => ("ая", "ее"),
            _ => ("яя", "ее"),
        };
        match gender {
            M => self.ru.to_string(),
            F => format!("{stem}{feminine}"),
            N => format!("{stem}{neuter}"),
        }
    }
}

/// A verb in both languages.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// Infinitive without "to".
    pub en: &'static str,
    /// Third person singular, present.
    pub en_present: &'static str,
    pub en_past: &'static str,
    pub ru: &'static str,
    /// Third person singular, present.
    pub ru_present: &'static str,
}

impl Verb {
    /// The Russian past tense, which agrees in gender. All verbs of the demo form it from the
    /// infinitive without -ть; есть is the one exception.
    pub fn ru_past(self, gender: Gender) -> String {
        let stem = if self.ru == "есть" { "е" } else { self.ru.strip_suffix("ть").unwrap_or(self.ru) };
        let ending = match gender {
            M => "л",
            F => "ла",
            N => "ло",
        };
        format!("{stem}{ending}")
    }
}

/// A Russian noun that is counted: one, two to four, five and more.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub en: &'static str,
    pub en_plural: &'static str,
    /// Nominative singular.
    pub ru_one: &'static str,
    /// Genitive singular, after 2, 3, 4.
    pub ru_few: &'static str,
    /// Genitive plural, after 5 and more.
    pub ru_many: &'static str,
    pub gender: Gender,
}

impl Counted {
    /// "two cats".
    pub fn en_with(self, n: usize) -> String {
        format!("{} {}", NUMBERS[n - 1].en, if n == 1 { self.en } else { self.en_plural })
    }

    /// "две кошки": *один* and *два* agree in gender, the noun's form depends on the number.
    /// For 1 to 12, where 11 and 12 count as many.
    pub fn ru_with(self, n: usize) -> String {
        let number = match (n, self.gender) {
            (1, F) => "одна",
            (1, N) => "одно",
            (2, F) => "две",
            _ => NUMBERS[n - 1].ru,
        };
        let noun = match n {
            1 => self.ru_one,
            2..=4 => self.ru_few,
            _ => self.ru_many,
        };
        format!("{number} {noun}")
    }
}

/// A number's name.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    pub en: &'static str,
    pub ru: &'static str,
    /// As in "от трёх до семи".
    pub ru_genitive: &'static str,
}

const fn number(en: &'static str, ru: &'static str, ru_genitive: &'static str) -> Number {
    Number { en, ru, ru_genitive }
}

/// One to twelve.
pub const NUMBERS: [Number; 12] = [
    number("one", "один", "одного"),
    number("two", "два", "двух"),
    number("three", "три", "трёх"),
    number("four", "четыре", "четырёх"),
    number("five", "пять", "пяти"),
    number("six", "шесть", "шести"),
    number("seven", "семь", "семи"),
    number("eight", "восемь", "восьми"),
    number("nine", "девять", "девяти"),
    number("ten", "десять", "десяти"),
    number("eleven", "одиннадцать", "одиннадцати"),
    number("twelve", "двенадцать", "двенадцати"),
];

/// "a cat", "an apple". By the letter, which is right for every noun of the demo.
pub fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::words::VERBS;

    #[test]
    fn adjectives_agree_with_every_gender() {
        let forms = |ru| [M, F, N].map(|gender| adjective("", ru).agreeing(gender));
        assert_eq!(forms("красный"), ["красный", "красная", "красное"]);
        assert_eq!(forms("большой"), ["большой", "большая", "большое"]);
        assert_eq!(forms("голубой"), ["голубой", "голубая", "голубое"]);
        assert_eq!(forms("маленький"), ["маленький", "маленькая", "маленькое"]);
        assert_eq!(forms("тихий"), ["тихий", "тихая", "тихое"]);
        assert_eq!(forms("хороший"), ["хороший", "хорошая", "хорошее"]);
        assert_eq!(forms("синий"), ["синий", "синяя", "синее"]);
    }

    #[test]
    fn verbs_have_their_past_in_every_gender() {
        let past = |ru: &str, gender| VERBS.iter().find(|v| v.ru == ru).unwrap().ru_past(gender);
        assert_eq!(past("спать", F), "спала");
        assert_eq!(past("есть", M), "ел");
        assert_eq!(past("есть", F), "ела");
        assert_eq!(past("пить", N), "пило");
        assert_eq!(past("смотреть", M), "смотрел");
    }

    #[test]
    fn counted_nouns_follow_their_number() {
        let apple = Counted {
            en: "apple",
            en_plural: "apples",
            ru_one: "яблоко",
            ru_few: "яблока",
            ru_many: "яблок",
            gender: N,
        };
        assert_eq!(apple.ru_with(1), "одно яблоко");
        assert_eq!(apple.ru_with(2), "два яблока");
        assert_eq!(apple.ru_with(5), "пять яблок");
        assert_eq!(apple.ru_with(11), "одиннадцать яблок");
        assert_eq!(apple.en_with(1), "one apple");
        assert_eq!(apple.en_with(7), "seven apples");
        let cat = Counted {
            en: "cat",
            en_plural: "cats",
            ru_one: "кошка",
            ru_few: "кошки",
            ru_many: "кошек",
            gender: F,
        };
        assert_eq!(
            [1, 2, 4, 6].map(|n| cat.ru_with(n)),
            ["одна кошка", "две кошки", "четыре кошки", "шесть кошек"]
        );
    }

    #[test]
    fn articles_follow_the_first_letter() {
        assert_eq!(with_article("apple"), "an apple");
        assert_eq!(with_article("crow"), "a crow");
    }
}
