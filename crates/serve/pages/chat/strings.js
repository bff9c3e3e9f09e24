export default {
  "chat.start.title": ["What shall we ask?", "О чём спросим?"]
}
