//! Words that more than one part of the demo uses. Those of a single kind of task stand in its file.

use super::grammar::{Adjective, Counted, F, M, N, Noun, Verb, adjective, noun};

/// Who does something.
pub const ACTORS: &[Noun] = &[
    noun("boy", "мальчик", M),
    noun("girl", "девочка", F),
    noun("mother", "мама", F),
    noun("father", "папа", M),
    noun("brother", "брат", M),
    noun("sister", "сестра", F),
    noun("grandmother", "бабушка", F),
    noun("grandfather", "дедушка", M),
    noun("doctor", "врач", M),
    noun("teacher", "учитель", M),
    noun("child", "ребёнок", M),
    noun("queen", "королева", F),
    noun("cat", "кошка", F),
    noun("dog", "собака", F),
    noun("horse", "лошадь", F),
    noun("cow", "корова", F),
    noun("bear", "медведь", M),
    noun("wolf", "волк", M),
    noun("fox", "лиса", F),
    noun("mouse", "мышь", F),
];

/// What has a property.
pub const THINGS: &[Noun] = &[
    noun("house", "дом", M),
    noun("book", "книга", F),
    noun("window", "окно", N),
    noun("door", "дверь", F),
    noun("lamp", "лампа", F),
    noun("tree", "дерево", N),
    noun("lake", "озеро", N),
    noun("river", "река", F),
    noun("city", "город", M),
    noun("garden", "сад", M),
    noun("forest", "лес", M),
    noun("street", "улица", F),
    noun("field", "поле", N),
    noun("apple", "яблоко", N),
    noun("dress", "платье", N),
    noun("table", "стол", M),
    noun("picture", "картина", F),
    noun("coat", "пальто", N),
];

/// Properties of [`THINGS`].
pub const PROPERTIES: &[Adjective] = &[
    adjective("big", "большой"),
    adjective("small", "маленький"),
    adjective("good", "хороший"),
    adjective("bad", "плохой"),
    adjective("old", "старый"),
    adjective("new", "новый"),
    adjective("beautiful", "красивый"),
    adjective("clean", "чистый"),
    adjective("dirty", "грязный"),
    adjective("strange", "странный"),
    adjective("ordinary", "обычный"),
    adjective("wonderful", "чудесный"),
];

/// Properties of [`ACTORS`].
pub const CHARACTERS: &[Adjective] = &[
    adjective("big", "большой"),
    adjective("small", "маленький"),
    adjective("good", "хороший"),
    adjective("quiet", "тихий"),
    adjective("strange", "странный"),
    adjective("kind", "добрый"),
    adjective("clever", "умный"),
    adjective("cheerful", "весёлый"),
    adjective("tired", "усталый"),
];

pub const VERBS: &[Verb] = &[
    verb("sleep", "sleeps", "slept", "спать", "спит"),
    verb("run", "runs", "ran", "бежать", "бежит"),
    verb("sit", "sits", "sat", "сидеть", "сидит"),
    verb("eat", "eats", "ate", "есть", "ест"),
    verb("drink", "drinks", "drank", "пить", "пьёт"),
    verb("walk", "walks", "walked", "гулять", "гуляет"),
    verb("stand", "stands", "stood", "стоять", "стоит"),
    verb("play", "plays", "played", "играть", "играет"),
    verb("swim", "swims", "swam", "плавать", "плавает"),
    verb("jump", "jumps", "jumped", "прыгать", "прыгает"),
    verb("look", "looks", "looked", "смотреть", "смотрит"),
    verb("listen", "listens", "listened", "слушать", "слушает"),
    verb("wait", "waits", "waited", "ждать", "ждёт"),
    verb("sing", "sings", "sang", "петь", "поёт"),
    verb("think", "thinks", "thought", "думать", "думает"),
];

const fn verb(
    en: &'static str,
    en_present: &'static str,
    en_past: &'static str,
    ru: &'static str,
    ru_present: &'static str,
) -> Verb {
    Verb { en, en_present, en_past, ru, ru_present }
}

pub const COLOURS: &[Adjective] = &[
    adjective("red", "красный"),
    adjective("yellow", "жёлтый"),
    adjective("green", "зелёный"),
    adjective("white", "белый"),
    adjective("black", "чёрный"),
    adjective("brown", "коричневый"),
    adjective("grey", "серый"),
    adjective("pink", "розовый"),
    adjective("orange", "оранжевый"),
    adjective("purple", "фиолетовый"),
    adjective("blue", "синий"),
    // Russian has two blues; each thing that is blue says which one (see `kinds::colours`).
    adjective("light blue", "голубой"),
];

/// What one can own several of.
pub const COUNTED: &[Counted] = &[
    counted(["apple", "apples"], ["яблоко", "яблока", "яблок"], N),
    counted(["cat", "cats"], ["кошка", "кошки", "кошек"], F),
    counted(["dog", "dogs"], ["собака", "собаки", "собак"], F),
    counted(["house", "houses"], ["дом", "дома", "домов"], M),
    counted(["book", "books"], ["книга", "книги", "книг"], F),
    counted(["table", "tables"], ["стол", "стола", "столов"], M),
    counted(["friend", "friends"], ["друг", "друга", "друзей"], M),
    counted(["picture", "pictures"], ["картина", "картины", "картин"], F),
    counted(["coat", "coats"], ["пальто", "пальто", "пальто"], N),
    counted(["sister", "sisters"], ["сестра", "сестры", "сестёр"], F),
];

const fn counted(en: [&'static str; 2], ru: [&'static str; 3], gender: super::grammar::Gender) -> Counted {
    let ([en, en_plural], [ru_one, ru_few, ru_many]) = (en, ru);
    Counted { en, en_plural, ru_one, ru_few, ru_many, gender }
}

/// When something happened; the sentence goes on in the past tense.
pub const PAST_TIMES: &[(&str, &str)] = &[
    ("Yesterday", "Вчера"),
    ("In the morning", "Утром"),
    ("In the evening", "Вечером"),
    ("At night", "Ночью"),
    ("Last summer", "Прошлым летом"),
    ("Once", "Однажды"),
];

/// Where something happened.
pub const PLACES: &[(&str, &str)] = &[
    ("in the forest", "в лесу"),
    ("by the river", "у реки"),
    ("in the garden", "в саду"),
    ("at home", "дома"),
    ("in the field", "в поле"),
    ("near the house", "около дома"),
    ("by the window", "у окна"),
    ("in the street", "на улице"),
    ("under the tree", "под деревом"),
    ("in the city", "в городе"),
];
