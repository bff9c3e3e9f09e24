export default {
  "shell.skip": ["Skip to the content", "Перейти к содержанию"],
  "shell.places": ["Pages", "Страницы"],
  "shell.chat": ["Chat", "Чат"],
  "shell.training": ["Training", "Обучение"],
  "shell.review": ["Review", "Проверка"],
  "shell.report": ["Report", "Табель"],
  "shell.theme.auto": ["Theme: as the system", "Тема: как в системе"],
  "shell.theme.light": ["Theme: light", "Тема: светлая"],
  "shell.theme.dark": ["Theme: dark", "Тема: тёмная"],
  "shell.retry": ["Try again", "Повторить"],
  "shell.dismiss": ["Dismiss", "Закрыть"],
  "shell.cancel": ["Cancel", "Отмена"],
  "shell.unreachable": [
    "The server does not answer. Is tolmach serve still running?",
    "Сервер не отвечает. Запущен ли tolmach serve?"
  ],
  "shell.failed": ["The server answered with error {status}.", "Сервер ответил ошибкой {status}."],
  "shell.error.full": [
    "The server is busy: too many wait already. Try again in a moment.",
    "Сервер занят: ждут уже слишком многие. Повторите чуть позже."
  ],
  "shell.error.context": [
    "This is longer than the model holds, question and answer together.",
    "Это длиннее, чем помещается в модель: вопрос и ответ вместе."
  ],
  "shell.error.model": ["The server has no such model any more.", "Такой модели на сервере больше нет."],
  "shell.error.failed": ["The model could not decode this.", "Модель не смогла это обработать."],
  "shell.error.large": ["This is more than the server takes at once.", "Это больше, чем сервер принимает за раз."],
  "shell.error.slow": ["The time limit of the server has passed.", "Вышло время, отведённое сервером."],
  "shell.error.stopping": ["The server is stopping.", "Сервер завершает работу."],
  "shell.error.unreadable": ["A file of it cannot be read.", "Один из файлов не читается."],
  "shell.error.adapter": [
    "The adapter of this run cannot be loaded now.",
    "Адаптер этого запуска сейчас не загружается."
  ],
  "shell.error.saved": [
    "The decision cannot be saved: the file cannot be written.",
    "Решение не сохранено: файл не записывается."
  ],
  "shell.error.language": [
    "The data set is not there or names no language: run tolmach translate again instead.",
    "Набора нет, или в нём не указан язык: запустите вместо этого tolmach translate ещё раз."
  ],
  "shell.key.title": ["API key", "Ключ API"],
  "shell.key.why": [
    "This server asks for a key. It is kept in this tab only and forgotten when the tab closes.",
    "Этот сервер просит ключ. Он хранится только в этой вкладке и забывается, когда её закроют."
  ],
  "shell.key.wrong": ["The server refused this key.", "Сервер не принял этот ключ."],
  "shell.key.use": ["Use the key", "Применить"]
}
