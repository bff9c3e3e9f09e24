//! A few longer examples with several lines: in the instruction set they are the originals of its near
//! duplicates, and show that line breaks come through translation.

use super::rows::{Fields, Row};

/// Name, English, Russian: the instruction, then the lines of the answer.
type Story = (&'static str, [&'static str; 4], [&'static str; 4]);

const STORIES: &[Story] = &[
    (
        "cat",
        [
            "Tell a short story about a cat that was looking for a warm place.",
            "A small grey cat walked through the garden in the evening.",
            "It was cold, and the cat looked for a warm place to sleep.",
            "Grandmother opened the door, and the cat slept by the lamp until morning.",
        ],
        [
            "Расскажи короткую историю о кошке, которая искала тёплое место.",
            "Вечером маленькая серая кошка гуляла по саду.",
            "Было холодно, и кошка искала тёплое место для сна.",
            "Бабушка открыла дверь, и кошка до утра спала у лампы.",
        ],
    ),
    (
        "wolf",
        [
            "Tell a short story about a wolf that did not want to be alone.",
            "An old wolf lived in a dark forest and was always alone.",
            "One day he heard a girl who sang by the river.",
            "The wolf sat down under a tree and listened, and he was not sad any more.",
        ],
        [
            "Расскажи короткую историю о волке, который не хотел быть один.",
            "Старый волк жил в тёмном лесу и всегда был один.",
            "Однажды он услышал девочку, которая пела у реки.",
            "Волк сел под деревом и слушал, и ему больше не было грустно.",
        ],
    ),
    (
        "doctor",
        [
            "Tell a short story about a doctor who forgot his coat.",
            "The doctor ran to the city in the morning because a child was ill.",
            "He forgot his coat at home, and in the street it was very cold.",
            "The child's mother gave him tea, and his brother brought him the coat.",
        ],
        [
            "Расскажи короткую историю о враче, который забыл пальто.",
            "Утром врач побежал в город, потому что заболел ребёнок.",
            "Он забыл пальто дома, а на улице было очень холодно.",
            "Мама ребёнка дала ему чаю, а брат принёс ему пальто.",
        ],
    ),
    (
        "queen",
        [
            "Tell a short story about a queen who loved apples.",
            "A clever queen had a wonderful garden with a hundred trees.",
            "Every evening she walked there and ate one red apple.",
            "In autumn she gave all the other apples to the children of the city.",
        ],
        [
            "Расскажи короткую историю о королеве, которая любила яблоки.",
            "У умной королевы был чудесный сад, в котором росло сто деревьев.",
            "Каждый вечер она гуляла там и съедала одно красное яблоко.",
            "Осенью она отдала все остальные яблоки детям из города.",
        ],
    ),
    (
        "mouse",
        [
            "Tell a short story about a mouse that wanted to see the sea.",
            "A brave mouse lived in a field and dreamed of the blue sea.",
            "In summer the mouse sat down in a small boat and went down the river.",
            "After seven days it saw the sea and was the happiest mouse of all.",
        ],
        [
            "Расскажи короткую историю о мышке, которая хотела увидеть море.",
            "Смелая мышка жила в поле и мечтала о синем море.",
            "Летом мышка села в маленькую лодку и поплыла вниз по реке.",
            "Через семь дней она увидела море и стала самой счастливой мышкой на свете.",
        ],
    ),
    (
        "teacher",
        [
            "Tell a short story about a teacher who lost a book.",
            "On Monday the teacher could not find an old book.",
            "The children looked under the tables, behind the door and by the window.",
            "The book was in the garden, and a bird sat on it and sang.",
        ],
        [
            "Расскажи короткую историю об учителе, который потерял книгу.",
            "В понедельник учитель не мог найти старую книгу.",
            "Дети искали её под столами, за дверью и у окна.",
            "Книга лежала в саду, а на ней сидела птица и пела.",
        ],
    ),
];

/// The stories as rows of the training set.
pub fn rows() -> Vec<Row> {
    let fields = |[instruction, lines @ ..]: &[&str; 4]| Fields {
        instruction: instruction.to_string(),
        input: String::new(),
        output: lines.join("\n"),
    };
    let row = |(name, en, ru): &Story| Row {
        id: format!("story-{name}"),
        kind: "stories",
        en: fields(en),
        ru: fields(ru),
    };
    STORIES.iter().map(row).collect()
}
