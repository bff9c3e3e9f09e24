// Server-sent events by fetch: EventSource cannot send a key.

/** Each event as { name, data }; comments keep the line open and are skipped. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { name: "message", data: [] };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) event.data.push(line.slice(5).replace(/^ /, ""));
      else if (line.startsWith("event:")) event.name = line.slice(6).trim();
      else if (line === "" && event.data.length > 0) {
        yield { name: event.name, data: event.data.join("\n") };
        event = { name: "message", data: [] };
      }
    }
  }
}
