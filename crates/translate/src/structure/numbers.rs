//! Numbers through a translation: the digits stay, and so do the bytes around them.

/// The value of a decimal digit in any of the scripts that engines answer in.
pub(crate) fn digit_value(c: char) -> Option<u32> {
    /// Where the digits 0–9 of a script begin.
    const ZEROS: [char; 9] = ['٠', '۰', '०', '০', '௦', '๐', '０', '૦', '೦'];
    if c.is_ascii() {
        return c.to_digit(10);
    }
    ZEROS.iter().find_map(|&zero| u32::from(c).checked_sub(u32::from(zero)).filter(|&value| value < 10))
}

/// The runs of digits in `text`, in ASCII, sorted: what a translation must have in common with its source.
pub(crate) fn digit_runs(text: &str) -> Vec<String> {
    let mut runs = Vec::new();
    let mut run = String::new();
    for c in text.chars().chain([' ']) {
        match digit_value(c).and_then(|value| char::from_digit(value, 10)) {
            Some(digit) => run.push(digit),
            None if run.is_empty() => {}
            None => runs.push(std::mem::take(&mut run)),
        }
    }
    runs.sort_unstable();
    runs
}

/// `answer` with the numbers of `source` written as they are there: engines turn `1,000.5` into `1 000,5`.
/// A number that is not found digit by digit stays as it is, for the check to find.
pub(crate) fn restore_numbers(source: &str, answer: String) -> String {
    if !source.contains(|c: char| c.is_ascii_digit()) {
        return answer;
    }
    let mut numbers: Vec<&str> = super::protect::parts(source)
        .into_iter()
        .map(|part| &source[part.at])
        .filter(|part| part.contains(|c: char| c.is_ascii_digit()))
        .filter(|part| part.chars().all(|c| c.is_ascii_digit() || is_joint(c)))
        .collect();
    // Only what holds its digits together with something can be rewritten on the way.
    numbers.retain(|number| number.contains(is_joint) || number.len() > 3);
    numbers.sort_by_key(|number| std::cmp::Reverse(number.len()));
    numbers.dedup();
    let mut out = if answer.is_ascii() { answer } else { to_ascii_digits(&answer) };
    for number in numbers {
        if !super::protect::parts(&out).iter().any(|part| out[part.at.clone()] == *number) {
            out = rewrite(&out, number);
        }
    }
    out
}

fn to_ascii_digits(text: &str) -> String {
    let ascii = |c: char| digit_value(c).and_then(|value| char::from_digit(value, 10)).unwrap_or(c);
    text.chars().map(ascii).collect()
}

/// `text` with every number of the same digits as `number` written like it.
fn rewrite(text: &str, number: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut after_digit = false;
    while let Some(c) = text[at..].chars().next() {
        let found = if c.is_ascii_digit() && !after_digit { same_digits(&text[at..], number) } else { None };
        let length = found.unwrap_or(c.len_utf8());
        out.push_str(if found.is_some() { number } else { &text[at..at + length] });
        after_digit = c.is_ascii_digit();
        at += length;
    }
    out
}

/// The length of the number at the start of `text` if it has the digits of `number`, grouped in any way
/// with single characters between them.
fn same_digits(text: &str, number: &str) -> Option<usize> {
    let mut digits = number.chars().filter(char::is_ascii_digit).peekable();
    let mut at = 0;
    let mut joint_before = false;
    for c in text.chars() {
        let Some(&wanted) = digits.peek() else {
            // `12,5` is not the beginning of `12,50`.
            return (!c.is_ascii_digit()).then_some(at);
        };
        if c == wanted {
            digits.next();
            joint_before = false;
        } else if (is_joint(c)
            || matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' | '–' | '—' | '’' | '٫' | '٬'))
            && !joint_before
            && at > 0
        {
            joint_before = true;
        } else {
            return None;
        }
        at += c.len_utf8();
    }
    digits.peek().is_none().then_some(at)
}

/// What holds the digits of one number together.
fn is_joint(c: char) -> bool {
    matches!(c, '.' | ',' | ':' | '/' | '-' | '\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_their_bytes_back() {
        for (source, answer, restored) in [
            ("It costs 1,000.50 now", "Это стоит 1 000,50 сейчас", "Это стоит 1,000.50 сейчас"),
            ("over 25000 of 3.14", "более 25 000 из 3,14", "более 25000 из 3.14"),
            ("from 10-15 at 10:30", "с 10–15 в 10.30", "с 10-15 в 10:30"),
            ("12 and 3", "١٢ و ٣", "12 و 3"),
            ("1,5 and 1,50", "1.50 и 1.5", "1,50 и 1,5"),
            ("2,000 of 12,000", "12 000 из 2 000", "12,000 из 2,000"),
            ("7,000", "17 000", "17 000"),
            ("no number", "нет чисел 5", "нет чисел 5"),
        ] {
            assert_eq!(restore_numbers(source, answer.to_string()), restored);
        }
    }

    #[test]
    fn runs_of_digits_are_compared_in_any_script_and_order() {
        assert_eq!(digit_runs("3 of 12, 1.5"), ["1", "12", "3", "5"]);
        assert_eq!(digit_runs("١٢ 3"), digit_runs("3 12"));
    }
}
