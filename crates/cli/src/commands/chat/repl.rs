//! The dialogue: questions from standard input, replies to standard output, commands with a slash.

use super::session::{History, Session, Spoken, message};
use crate::report::Failure;
use crate::ui::Ui;
use serde_json::{Value, json};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use tolmach_corpus::{Body, Example, Message, Role, write_examples};
use tolmach_eval::side_name;
use tolmach_model::{Finish, Side};

const HELP: &str = "\
/base        the base model replies from now on
/tuned       the tuned model replies from now on
/compare     both reply, one after the other
/reset       forget what was said before (with --conversation)
/system TEXT say TEXT before everything else; without TEXT: nothing any more
/save FILE   write what was said so far as JSONL
/exit        end the chat; so does Ctrl-D
//TEXT       ask about /TEXT, with its slash
Ctrl-C stops a reply.";

/// What a line of input asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Ask(&'a str),
    Nothing,
    Help,
    Speak(&'static [Side]),
    Reset,
    System(&'a str),
    Save(&'a str),
    Exit,
    Unknown(&'a str),
}

const BASE: &[Side] = &[Side::Base];
const TUNED: &[Side] = &[Side::Tuned];
/// The base first: before and after.
const BOTH: &[Side] = &[Side::Base, Side::Tuned];

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Line<'a> {
        let line = line.trim();
        if line.starts_with("//") {
            return Line::Ask(&line[1..]);
        }
        if !line.starts_with('/') {
            return if line.is_empty() { Line::Nothing } else { Line::Ask(line) };
        }
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match command {
            "/help" | "/?" => Line::Help,
            "/base" => Line::Speak(BASE),
            "/tuned" => Line::Speak(TUNED),
            "/compare" => Line::Speak(BOTH),
            "/reset" => Line::Reset,
            "/system" => Line::System(rest.trim()),
            "/save" => Line::Save(rest.trim()),
            "/exit" | "/quit" => Line::Exit,
            _ => Line::Unknown(command),
        }
    }
}

/// One question with one side's reply.
struct Turn {
    question: String,
    spoken: Spoken,
}

pub struct Repl<'a> {
    session: &'a Session,
    ui: &'a Ui,
    conversation: bool,
    /// A person types: greet, prompt, and tell what a script would not want to read.
    interactive: bool,
    speaking: &'static [Side],
    /// Of the base and of the tuned model: each remembers its own replies.
    histories: [History; 2],
    turns: Vec<Turn>,
    questions: u64,
}

impl<'a> Repl<'a> {
    pub fn new(
        session: &'a Session,
        ui: &'a Ui,
        compare: bool,
        conversation: bool,
        system: Option<&str>,
    ) -> Self {
        let speaking = match &session.adapter_name {
            _ if compare => BOTH,
            Some(_) => TUNED,
            None => BASE,
        };
        let history = || History::new(system.map(str::to_string));
        Repl {
            session,
            ui,
            conversation,
            interactive: io::stdin().is_terminal(),
            speaking,
            histories: [history(), history()],
            turns: Vec::new(),
            questions: 0,
        }
    }

    /// Read lines until the input ends. In a dialogue a question that cannot be asked is told and
    /// the next one awaited; from a file it ends the run.
    pub fn run(&mut self) -> Result<(), Failure> {
        self.greet();
        let mut line = String::new();
        loop {
            self.show_prompt();
            line.clear();
            let read = io::stdin().lock().read_line(&mut line);
            if read.map_err(|e| Failure::input(format!("cannot read standard input: {e}")))? == 0 {
                return Ok(());
            }
            match self.obey(&line) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(failure) if self.interactive => {
                    self.ui.error(&failure.to_string());
                    if let Some(hint) = &failure.hint {
                        self.ui.hint(hint);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Whether the dialogue goes on.
    fn obey(&mut self, line: &str) -> Result<bool, Failure> {
        match Line::parse(line) {
            Line::Nothing => {}
            Line::Ask(question) => self.answer(question)?,
            Line::Help => self.ui.say(HELP),
            Line::Speak(sides) => self.speak_as(sides)?,
            Line::Reset => self.histories.iter_mut().for_each(History::forget),
            Line::System(text) => {
                let system = (!text.is_empty()).then(|| text.to_string());
                self.histories.iter_mut().for_each(|history| history.system.clone_from(&system));
            }
            Line::Save(file) => self.save(file)?,
            Line::Exit => return Ok(false),
            Line::Unknown(command) => {
                return Err(Failure::usage(format!("there is no command {command}"))
                    .hint("/help lists them; a question that begins with a slash takes a second one"));
            }
        }
        Ok(true)
    }

    fn speak_as(&mut self, sides: &'static [Side]) -> Result<(), Failure> {
        if sides.contains(&Side::Tuned) && self.session.adapter_name.is_none() {
            return Err(Failure::usage("there is no adapter: only the base can reply")
                .hint("start with --adapter FOLDER"));
        }
        self.speaking = sides;
        let names: Vec<String> = sides.iter().map(|&side| self.session.label(side)).collect();
        self.ui.say(format!("replies now: {}", names.join(", then ")));
        Ok(())
    }

    /// Put one question to every side that speaks, and print the replies.
    pub fn answer(&mut self, question: &str) -> Result<(), Failure> {
        let both = self.speaking.len() > 1;
        for &side in self.speaking {
            let history = &mut self.histories[usize::from(side == Side::Tuned)];
            let prompt = self.session.prompt(&history.with(question))?;
            let mut out = Out::new(self.ui.json);
            if both {
                out.say(&format!("{}:\n", self.session.label(side)));
            }
            let spoken = self.session.reply(side, &prompt, self.questions, &mut |piece| out.say(piece))?;
            out.end_line();
            if both {
                out.say("\n");
            }
            if self.conversation {
                history.add(question, &spoken.text);
            }
            self.tell(&spoken);
            self.turns.push(Turn { question: question.to_string(), spoken });
        }
        self.questions += 1;
        Ok(())
    }

    fn tell(&self, spoken: &Spoken) {
        if self.ui.verbose > 0 {
            self.ui.say(spoken.statistics());
        } else if self.interactive && spoken.finish == Finish::Length {
            self.ui.say(format!("(cut after {} tokens; --max-new-tokens allows more)", spoken.tokens));
        }
    }

    fn save(&self, file: &str) -> Result<(), Failure> {
        if file.is_empty() {
            return Err(Failure::usage("/save needs a file name"));
        }
        let path = Path::new(file);
        if path.exists() {
            return Err(Failure::usage(format!("{file} exists")).hint("name another file"));
        }
        if self.turns.is_empty() {
            return Err(Failure::usage("nothing was said yet"));
        }
        let examples = self.transcript();
        write_examples(path, &examples)?;
        self.ui.say(format!("{} examples in {file}", examples.len()));
        Ok(())
    }

    /// A conversation is one example per side, questions that stand alone are one each.
    fn transcript(&self) -> Vec<Example> {
        let mut examples = Vec::new();
        for &side in BOTH {
            let said: Vec<&Turn> = self.turns.iter().filter(|turn| turn.spoken.side == side).collect();
            let system = self.histories[usize::from(side == Side::Tuned)].system.as_deref();
            let length = if self.conversation { said.len().max(1) } else { 1 };
            examples.extend(said.chunks(length).map(|turns| example(system, turns, side)));
        }
        examples
    }

    pub fn json(&self) -> Value {
        let replies: Vec<Value> = self.turns.iter().map(|t| t.spoken.json(&t.question)).collect();
        json!({
            "base": self.session.base_name,
            "adapter": self.session.adapter_name,
            "template": self.session.template.name(),
            "replies": replies,
        })
    }

    fn greet(&self) {
        if self.interactive {
            let names: Vec<String> = self.speaking.iter().map(|&side| self.session.label(side)).collect();
            self.ui.say(format!(
                "{}, template {}; /help for commands, Ctrl-D ends the chat",
                names.join(" and "),
                self.session.template.name()
            ));
        }
    }

    fn show_prompt(&self) {
        if self.interactive && !self.ui.quiet {
            eprint!("> ");
        }
    }
}

fn example(system: Option<&str>, turns: &[&Turn], side: Side) -> Example {
    let mut messages: Vec<Message> = system.map(|text| message(Role::System, text)).into_iter().collect();
    for turn in turns {
        messages.extend([message(Role::User, &turn.question), message(Role::Assistant, &turn.spoken.text)]);
    }
    let mut example = Example::new(Body::Messages { messages });
    example.extra.insert("side".into(), side_name(side).into());
    example
}

/// Where replies go: standard output, unformatted, flushed piece by piece; with `--json`, which owns
/// standard output, nowhere. A broken pipe ends the program silently.
struct Out {
    silent: bool,
    /// Keep a model from steering the terminal.
    harmless: bool,
    line_open: bool,
}

impl Out {
    fn new(silent: bool) -> Out {
        Out { silent, harmless: io::stdout().is_terminal(), line_open: true }
    }

    fn say(&mut self, text: &str) {
        if self.silent || text.is_empty() {
            return;
        }
        self.line_open = !text.ends_with('\n');
        let mut out = io::stdout().lock();
        let written = match self.harmless {
            true => out.write_all(without_controls(text).as_bytes()),
            false => out.write_all(text.as_bytes()),
        };
        if written.and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    fn end_line(&mut self) {
        if self.line_open {
            self.say("\n");
        }
    }
}

/// Control characters shown as their pictures (U+2400…), so that no reply can move the cursor or
/// rename the window.
fn without_controls(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            '\x7f' => '\u{2421}',
            '\u{80}'..='\u{9f}' => '\u{fffd}',
            _ => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions_or_commands() {
        for (line, meaning) in [
            ("Привет!\n", Line::Ask("Привет!")),
            ("  \n", Line::Nothing),
            ("/help", Line::Help),
            ("/base\n", Line::Speak(BASE)),
            ("/compare", Line::Speak(BOTH)),
            ("/save  a b.jsonl ", Line::Save("a b.jsonl")),
            ("/system", Line::System("")),
            ("//etc/passwd?", Line::Ask("/etc/passwd?")),
            ("/etc/passwd", Line::Unknown("/etc/passwd")),
            ("/quit", Line::Exit),
        ] {
            assert_eq!(Line::parse(line), meaning, "{line:?}");
        }
    }

    #[test]
    fn a_reply_cannot_steer_the_terminal() {
        assert_eq!(without_controls("a\x1b[2Jb\tc\n\r\u{9b}"), "a␛[2Jb\tc\n␍\u{fffd}");
    }

    #[test]
    fn empty_replies_are_not_remembered() {
        let mut history = History::new(None);
        history.add("a", " ");
        assert_eq!(history.with("b").len(), 1);
        history.add("b", "c");
        history.system = Some("s".into());
        assert_eq!(history.with("d").len(), 4);
    }
}
