//! Dirt for the English instruction set: for every cleaning rule some rows that it must drop. The id
//! of a dirty row names the rule: `dirt-RULE-NUMBER`.

use super::random::Stream;
use super::rows::{Fields, Row, example};
use tolmach_corpus::{Example, Rule};

/// Instruction, input, output.
type Texts = [&'static str; 3];

const EMPTY: &[Texts] = &[
    ["Name three rivers in Europe.", "", ""],
    ["What is the highest mountain of Spain?", "", "   "],
    ["", "", "The answer is a horse."],
    ["Say who wrote this book.", "The book is old and has a red cover.", "\n"],
    ["", "What is a lake?", ""],
    ["Describe your favourite city.", "", ""],
];

const MARKERS: &[Texts] = &[
    ["Name an animal that lives in the sea.", "<noinput>", "A shark lives in the sea."],
    ["Name a bird that cannot fly.", "<no input>", "A penguin cannot fly."],
    ["Say what a doctor does.", "<nooinput>", "A doctor helps people who are ill."],
    ["Give a reason to plant trees.", "Noinput", "Trees clean the air."],
    ["Say how to keep a garden clean.", "<noinput", "Take away old leaves every week."],
    ["Say what winter is like.", "No input", "Winter is cold and white."],
];

const CODE: &[Texts] = &[
    [
        "Write a Python function that adds two numbers.",
        "",
        "def add(a, b):\n    \"\"\"Return the sum of a and b.\"\"\"\n    return a + b\n\nprint(add(2, 3))",
    ],
    [
        "Write a JavaScript function that reverses an array.",
        "",
        "function reverse(items) {\n  const result = [];\n  for (let i = items.length - 1; i >= 0; i--) {\n    result.push(items[i]);\n  }\n  return result;\n}",
    ],
    [
        "Write an SQL query that finds all customers from Norway.",
        "",
        "SELECT name, city FROM customers WHERE country = 'Norway' ORDER BY name;",
    ],
    [
        "Explain what this program prints.",
        "#include <stdio.h>\n\nint main(void) {\n    for (int i = 0; i < 3; i++) {\n        printf(\"%d\\n\", i);\n    }\n    return 0;\n}",
        "It prints the numbers 0, 1 and 2.",
    ],
    [
        "Write a Java program that greets the user.",
        "",
        "public class Greeting {\n    public static void main(String[] args) {\n        System.out.println(\"Hello\");\n    }\n}",
    ],
    [
        "Write a Python class for a dog.",
        "",
        "class Dog:\n    def __init__(self, name):\n        self.name = name\n\n    def bark(self):\n        print(f\"{self.name} barks\")",
    ],
];

const MARKUP: &[Texts] = &[
    [
        "Solve the equation.",
        "$x^2 - 5x + 6 = 0$",
        "\\[ x = \\frac{5 \\pm \\sqrt{25 - 24}}{2} \\] so $x = 2$ or $x = 3$.",
    ],
    ["Give the area of a circle.", "", "The area is \\( A = \\pi r^2 \\), where \\( r \\) is the radius."],
    ["Find the derivative.", "$f(x) = \\sin(x) \\cdot e^{x}$", "$f'(x) = e^{x} (\\sin(x) + \\cos(x))$"],
    ["Write the sum of the first n numbers.", "", "$$\\sum_{i=1}^{n} i = \\frac{n(n+1)}{2}$$"],
    [
        "Compare three animals in a table.",
        "",
        "| Animal | Legs | Lives in |\n|---|---|---|\n| Horse | 4 | fields |\n| Shark | 0 | the sea |\n| Owl | 2 | forests |",
    ],
    [
        "Create a page with a heading.",
        "",
        "<!DOCTYPE html>\n<html>\n<head><title>Page</title></head>\n<body>\n<h1>Hello</h1>\n</body>\n</html>",
    ],
    ["Give the Pythagorean theorem.", "", "\\begin{equation}\na^2 + b^2 = c^2\n\\end{equation}"],
];

const LINKS: &[Texts] = &[
    [
        "Summarise the article.",
        "https://www.example.com/news/2023/04/06/the-city-and-the-river",
        "The article is about a river.",
    ],
    ["Say what the page is about.", "http://example.org/animals/horse.html", "The page is about horses."],
    ["Find a picture of a lake.", "", "https://pictures.example.net/lakes/quiet-lake-in-the-evening.jpg"],
    ["Give two sources about trees.", "", "https://example.com/trees/oak\nhttps://example.com/trees/birch"],
    ["Name the main idea.", "www.example.com/stories/the-old-wolf", "The wolf does not want to be alone."],
    ["Give the address of a site about birds.", "", "https://birds.example.org/catalogue?order=owls"],
];

const ABOUT_LANGUAGE: &[Texts] = &[
    [
        "Correct the grammar of the sentence.",
        "The cats sleeps in the garden.",
        "The cats sleep in the garden.",
    ],
    ["Find a word that rhymes with \"house\".", "", "Mouse"],
    ["Rewrite the sentence in the past tense.", "The dog runs home.", "The dog ran home."],
    ["Correct the spelling mistakes.", "The hors is beutiful.", "The horse is beautiful."],
    ["Make an anagram of the word \"listen\".", "", "Silent"],
    ["Identify the verb in the sentence.", "The bird sings by the window.", "Sings"],
    ["How many syllables does the word \"beautiful\" have?", "", "It has three syllables."],
    ["Give the plural form of the noun \"mouse\".", "", "Mice"],
];

const TRANSLATION: &[Texts] = &[
    ["Translate the sentence into Spanish.", "The horse is big.", "El caballo es grande."],
    ["How do you say \"good morning\" in French?", "", "Bonjour"],
    ["Translate this phrase to German.", "The house is old.", "Das Haus ist alt."],
    ["Give the Italian translation of \"apple\".", "", "Mela"],
    ["Translate from English to Portuguese.", "The book is on the table.", "O livro está sobre a mesa."],
    [
        "Find a mistake in the translation.",
        "El gato es negro: The dog is black.",
        "It should be: The cat is black.",
    ],
];

const WRONG_LANGUAGE: &[Texts] = &[
    [
        "Erzähle etwas über den Wald und die Tiere, die dort leben.",
        "",
        "Der Wald ist groß und dunkel, und in ihm leben viele Tiere, die man am Tag nicht sieht.",
    ],
    [
        "Cuenta algo sobre la ciudad y el río que pasa por ella.",
        "",
        "La ciudad es muy antigua y el río que pasa por ella es ancho y tranquilo.",
    ],
    [
        "Raconte quelque chose sur la maison et le jardin de ta grand-mère.",
        "",
        "La maison de ma grand-mère est petite, mais le jardin est grand et il y a beaucoup de fleurs.",
    ],
    ["Say what the picture shows.", "", "На картине нарисованы большой дом, река и старое дерево."],
    ["Write one line about the sea.", "", "海はとても青くて、静かです。"],
    [
        "Parla della tua città e di quello che si può fare la sera.",
        "",
        "La sera nella mia città si può andare al cinema, ma io preferisco stare a casa con gli amici.",
    ],
];

/// Dirt that is written down, and dirt that is made: control characters and over-long texts.
pub fn rows() -> Vec<Example> {
    let written = [
        (Rule::Empty, EMPTY),
        (Rule::Markers, MARKERS),
        (Rule::Code, CODE),
        (Rule::Markup, MARKUP),
        (Rule::LinksOnly, LINKS),
        (Rule::AboutLanguage, ABOUT_LANGUAGE),
        (Rule::MentionsTranslation, TRANSLATION),
        (Rule::WrongLanguage, WRONG_LANGUAGE),
    ];
    let mut all: Vec<Example> = Vec::new();
    for (rule, texts) in written {
        all.extend(texts.iter().enumerate().map(|(n, text)| dirty(rule, n, text.map(String::from))));
    }
    let controls = ['\u{0}', '\u{7}', '\u{8}', '\u{1b}', '\u{92}', '\u{fffd}'];
    all.extend(controls.iter().enumerate().map(|(n, control)| {
        let output = format!("The garden{control}s of the queen are green and quiet.");
        dirty(
            Rule::ControlCharacters,
            n,
            [format!("Describe garden number {}.", n + 1), String::new(), output],
        )
    }));
    all.extend((0..4).map(|n| {
        let output =
            "The old man walked down the street and saw a house, and behind it another one. ".repeat(60 + n);
        dirty(Rule::TooLong, n, [format!("Tell long story number {}.", n + 1), String::new(), output])
    }));
    all
}

fn dirty(rule: Rule, n: usize, [instruction, input, output]: [String; 3]) -> Example {
    example(&format!("dirt-{rule}-{}", n + 1), "dirt", Fields { instruction, input, output }.body())
}

/// Put exact and near duplicates into `examples`, each somewhere after its original, which is what a
/// cleaning rule keeps. The near ones are the `stories` with one word more.
pub fn add_duplicates(examples: &mut Vec<Example>, stories: &[Row], stream: &mut Stream) {
    let mut duplicates = Vec::new();
    for n in 0..12 {
        // Anything but dirt, or two rules would claim the row.
        let original = loop {
            let example = stream.pick(examples);
            if !example.id.starts_with("dirt-") {
                break example;
            }
        };
        duplicates.push((
            original.id.clone(),
            example(&format!("dirt-{}-{}", Rule::Duplicates, n + 1), "dirt", original.body.clone()),
        ));
    }
    for (n, story) in stories.iter().enumerate() {
        let changed = Fields { output: format!("{} Really.", story.en.output), ..story.en.clone() };
        let id = format!("dirt-{}-{}", Rule::NearDuplicates, n + 1);
        duplicates.push((story.id.clone(), example(&id, "dirt", changed.body())));
    }
    for (original, duplicate) in duplicates {
        let after = examples.iter().position(|e| e.id == original).map_or(examples.len(), |at| at + 1);
        let place = after + stream.below(examples.len() - after + 1);
        examples.insert(place, duplicate);
    }
}
