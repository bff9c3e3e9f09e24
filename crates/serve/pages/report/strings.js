export default {
  "report.which": ["Report card", "Табель"],
  "report.save": ["Save as a file", "Сохранить файлом"],
  "report.empty.title": ["No report card yet", "Табеля пока нет"],
  "report.empty.how": [
    "Runs of tolmach teach have one, and so has the folder of tolmach eval -o; name it:",
    "Он есть у запусков tolmach teach и в папке tolmach eval -o; назовите её:"
  ]
}
