//! A translation service as bad as they come: one text per request, and everything that can go wrong does.
//!
//! It "translates" by writing English words in Cyrillic letters, so that the right answer to every text is
//! known. What it does wrong follows from the text alone (and, for requests that fail, from how often that
//! text came): a run can be repeated, and asking the same question again does not help.

use crate::support::translation;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tolmach_translate::structure::{parts, sentences};
use tolmach_translate::{Answer, Engine, EngineError, LanguagePair, Limits};

pub struct Hostile {
    pub name: &'static str,
    pub limits: Limits,
    /// How bad it is: 1 is the usual badness, 0 an honest service.
    pub badness: f64,
    /// Requests with a translation in the answer.
    pub answered: AtomicUsize,
    pub failed: AtomicUsize,
    seen: Mutex<HashMap<u64, u32>>,
}

/// A stream of decisions that follow from a text.
struct Dice {
    state: u64,
    badness: f64,
}

impl Dice {
    fn new(text: &str, salt: u64, badness: f64) -> Self {
        // FNV-1a: the same on every machine and in every version.
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325 ^ salt, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Dice { state: hash, badness }
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&mut self, share: f64) -> bool {
        ((self.next() >> 11) as f64 / (1u64 << 53) as f64) < share * self.badness
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }
}

impl Hostile {
    pub fn new(characters: usize, badness: f64) -> Self {
        let limits = Limits { characters, concurrency: 4, ..Limits::UNLIMITED };
        let (answered, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Hostile { name: "hostile", limits, badness, answered, failed, seen: Mutex::default() }
    }

    /// What it says to a text, or how it fails.
    pub fn respond(&self, text: &str) -> Result<String, EngineError> {
        let times = {
            let mut seen = self.seen.lock().unwrap();
            let times = seen.entry(Dice::new(text, 1, 1.0).next()).or_insert(0);
            *times += 1;
            u64::from(*times)
        };
        if let Some(error) = service_fault(&mut Dice::new(text, 7 * times, self.badness)) {
            self.failed.fetch_add(1, SeqCst);
            return Err(error);
        }
        self.answered.fetch_add(1, SeqCst);
        Ok(mistranslate(text, &mut Dice::new(text, 3, self.badness)))
    }
}

impl Engine for Hostile {
    fn name(&self) -> &str {
        self.name
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn takes_one_text(&self) -> bool {
        true
    }

    fn translate(&self, segments: &[&str], _pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        let [text] = segments else { panic!("one text per request, not {}", segments.len()) };
        assert!(text.chars().count() <= self.limits.characters.max(2000), "the limit is kept");
        Ok(vec![Ok(self.respond(text)?)])
    }
}

/// 429, 500, time-outs and cut connections.
fn service_fault(dice: &mut Dice) -> Option<EngineError> {
    if dice.happens(0.04) {
        let retry_after = Some(Duration::from_millis(2));
        return Some(EngineError::SlowDown { message: "429".to_string(), retry_after });
    }
    if dice.happens(0.04) {
        return Some(EngineError::Fault("500".to_string()));
    }
    dice.happens(0.03).then(|| EngineError::Unreachable("the connection was cut".to_string()))
}

fn mistranslate(text: &str, dice: &mut Dice) -> String {
    if dice.happens(0.02) {
        return (dice.pick(&[wrong_language, str::to_string, loops] as &[fn(&str) -> String]))(text);
    }
    let pieces: Vec<String> = text.split(" || ").map(|piece| spoil(piece, dice)).collect();
    let mangled = dice.happens(0.05);
    let mut out = String::new();
    for (i, piece) in pieces.iter().enumerate() {
        if i > 0 {
            let forms = ["|/", " | | ", " /| ", "｜｜", "||", " || ", " ||| ", " |\\ ", " | ", ". "];
            out.push_str(if mangled && dice.happens(0.3 / dice.badness.max(0.3)) {
                dice.pick(&forms)
            } else {
                " || "
            });
        }
        out.push_str(piece);
    }
    out
}

/// One segment, translated, and with luck translated well.
fn spoil(segment: &str, dice: &mut Dice) -> String {
    let mut said: Vec<String> = sentences(segment).into_iter().map(translation).collect();
    if said.len() > 1 && dice.happens(0.03) {
        let at = (dice.next() as usize) % said.len();
        said.remove(at);
    }
    if said.len() > 1 && dice.happens(0.03) {
        let first = said[0].trim_end().trim_end_matches(['.', '!', '?']).to_string();
        said[0] = format!("{first}, ");
        said[1] = said[1].to_lowercase();
    }
    let mut said = said.concat();
    if dice.happens(0.03) {
        said = said.chars().map(|c| if c.is_ascii_digit() { '7' } else { c }).collect();
    }
    if dice.happens(0.2) {
        // What looks like a placeholder or code is translated like anything else.
        let hard: Vec<String> =
            parts(segment).into_iter().filter(|p| p.is_hard()).map(|p| segment[p.at].to_string()).collect();
        for part in hard {
            said = said.replace(&translation(&part), "имя").replace(&part, "имя");
        }
    }
    if dice.happens(0.02) {
        said = said.replace(['⟦', '⟧'], "");
    }
    if dice.happens(0.005) {
        return loops(&said);
    }
    if dice.happens(0.005) {
        return segment.to_string();
    }
    if dice.happens(0.005) {
        return String::new();
    }
    said
}

fn wrong_language(text: &str) -> String {
    text.split(' ').map(|word| if word == "||" { word } else { "Ергебнїс" }).collect::<Vec<_>>().join(" ")
}

fn loops(text: &str) -> String {
    let start: String = text.chars().take(12).collect();
    format!("{text} {}", [start.trim(); 9].join(" "))
}
