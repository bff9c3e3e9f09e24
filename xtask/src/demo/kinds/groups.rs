//! Groups: "What group does a cat belong to?" → "animals".

use super::{Kind, Task};
use crate::demo::grammar::with_article;
use crate::demo::wording::{Slots, Wording, both, test, training, validation};

/// A group's name in both languages, and what belongs to it.
pub type Group = ((&'static str, &'static str), &'static [(&'static str, &'static str)]);

pub const GROUPS: &[Group] = &[
    (
        ("animals", "животные"),
        &[
            ("cat", "кошка"),
            ("dog", "собака"),
            ("horse", "лошадь"),
            ("cow", "корова"),
            ("goat", "коза"),
            ("bear", "медведь"),
        ],
    ),
    (
        ("birds", "птицы"),
        &[
            ("crow", "ворона"),
            ("eagle", "орёл"),
            ("owl", "сова"),
            ("sparrow", "воробей"),
            ("swan", "лебедь"),
            ("duck", "утка"),
        ],
    ),
    (
        ("fish", "рыбы"),
        &[
            ("pike", "щука"),
            ("carp", "карп"),
            ("trout", "форель"),
            ("shark", "акула"),
            ("salmon", "лосось"),
            ("perch", "окунь"),
        ],
    ),
    (
        ("insects", "насекомые"),
        &[
            ("bee", "пчела"),
            ("fly", "муха"),
            ("ant", "муравей"),
            ("butterfly", "бабочка"),
            ("mosquito", "комар"),
            ("beetle", "жук"),
        ],
    ),
    (
        ("fruit", "фрукты"),
        &[
            ("banana", "банан"),
            ("lemon", "лимон"),
            ("apple", "яблоко"),
            ("pear", "груша"),
            ("peach", "персик"),
            ("plum", "слива"),
        ],
    ),
    (
        ("vegetables", "овощи"),
        &[
            ("cucumber", "огурец"),
            ("carrot", "морковь"),
            ("cabbage", "капуста"),
            ("potato", "картофель"),
            ("onion", "лук"),
            ("beetroot", "свёкла"),
        ],
    ),
    (
        ("trees", "деревья"),
        &[
            ("oak", "дуб"),
            ("birch", "берёза"),
            ("pine", "сосна"),
            ("maple", "клён"),
            ("spruce", "ель"),
            ("aspen", "осина"),
        ],
    ),
    (
        ("flowers", "цветы"),
        &[
            ("rose", "роза"),
            ("tulip", "тюльпан"),
            ("daisy", "ромашка"),
            ("violet", "фиалка"),
            ("lily", "лилия"),
            ("poppy", "мак"),
        ],
    ),
    (
        ("clothes", "одежда"),
        &[
            ("shirt", "рубашка"),
            ("coat", "пальто"),
            ("dress", "платье"),
            ("skirt", "юбка"),
            ("jacket", "куртка"),
            ("sweater", "свитер"),
        ],
    ),
    (
        ("furniture", "мебель"),
        &[
            ("table", "стол"),
            ("chair", "стул"),
            ("bed", "кровать"),
            ("sofa", "диван"),
            ("cupboard", "шкаф"),
            ("armchair", "кресло"),
        ],
    ),
    (
        ("tools", "инструменты"),
        &[
            ("hammer", "молоток"),
            ("saw", "пила"),
            ("axe", "топор"),
            ("drill", "дрель"),
            ("spade", "лопата"),
            ("screwdriver", "отвёртка"),
        ],
    ),
    (
        ("transport", "транспорт"),
        &[
            ("car", "машина"),
            ("bus", "автобус"),
            ("train", "поезд"),
            ("tram", "трамвай"),
            ("plane", "самолёт"),
            ("bicycle", "велосипед"),
        ],
    ),
];

const WORDINGS: &[Wording] = &[
    training("What group does {x} belong to?", "К какой группе относится {x}?"),
    training("Which group is this from?", "Из какой это группы?").with_input("{bare}", "{x}"),
    training("Tell me which group {x} is in.", "Скажи, в какую группу входит {x}."),
    training("In which group should \"{bare}\" be put?", "В какую группу поместить слово «{x}»?"),
    training("{X} is in what group?", "{X} — это какая группа?"),
    training("Find the group: {bare}.", "Определи группу: {x}."),
    training("To which group does {x} belong?", "Какой группе принадлежит {x}?"),
    training("The group for \"{bare}\", please.", "Группу для слова «{x}», пожалуйста."),
    training("Name the group that has {x} in it.", "Назови группу, в которой есть {x}."),
    training("Do you know which group {x} is in?", "Знаешь ли ты, в какую группу входит {x}?"),
    training("Be so kind, say in which group {x} is.", "Подскажи, в какой группе {x}."),
    training("Write to which group {x} belongs.", "Напиши, к какой группе относится {x}."),
    training("Give the group.", "Укажи группу.").with_input("{bare}", "{x}"),
    training("{X}: which group is it?", "{X}: какая это группа?"),
    training("Can you name the group for \"{bare}\"?", "Можешь назвать группу для слова «{x}»?"),
    training("I forgot the group for \"{bare}\". Remind me.", "Я забыл группу слова «{x}». Напомни."),
    training("Here is \"{bare}\". What group is it?", "Вот слово «{x}». Какая это группа?"),
    training("Choose a group for {x}.", "Выбери группу: {x}."),
    training("What is {x}? Name the group.", "Что такое {x}? Назови группу."),
    training("Answer the question: what group is {x} from?", "Ответь на вопрос: из какой группы {x}?"),
    training("A friend asks which group {x} is from.", "Друг спрашивает, из какой группы {x}."),
    training("Think and say the group: {bare}.", "Подумай и скажи группу: {x}."),
    training("There are many groups. Which of them has {x} in it?", "Групп много. В какой из них {x}?"),
    training("Help me find the group of {x}.", "Помоги найти группу для слова «{x}»."),
    validation("Write the group to which {x} belongs.", "Напиши группу, к которой относится {x}."),
    validation("What is the group of \"{bare}\"?", "Какая группа у слова «{x}»?"),
    test("Please give the group: {bare}.", "Подскажи, пожалуйста, группу: {x}."),
    test("Which of the groups does {x} go into?", "В какую из групп входит {x}?"),
    test("{X}: name the group.", "{X}: назови группу."),
];

pub fn kind() -> Kind {
    let mut tasks = Vec::new();
    for ((group_en, group_ru), members) in GROUPS {
        for (en, ru) in *members {
            let slots = Slots::default().with("x", with_article(en)).with("bare", *en);
            tasks.push(Task::new(slots, Slots::default().with("x", *ru), both(*group_en, *group_ru)));
        }
    }
    Kind { name: "groups", wordings: WORDINGS, tasks, training_rows: 540 }
}
