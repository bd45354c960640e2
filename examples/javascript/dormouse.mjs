// A client of the HTTP API in plain `fetch`: what the examples beside this file share.
//
// DORMOUSE_SERVER names a server that is not at http://127.0.0.1:3333; DORMOUSE_KEY is a key, where the
// server needs one.

const server = process.env.DORMOUSE_SERVER ?? "http://127.0.0.1:3333";
const key = process.env.DORMOUSE_KEY;

async function send(method, path, body, headers = {}) {
  const response = await fetch(server + path, {
    method,
    headers: {
      ...headers,
      ...(key && { authorization: `Bearer ${key}` }),
      ...(body && { "content-type": "application/json" }),
    },
    body: body && JSON.stringify(body),
  });
  if (!response.ok) {
    // An error is always a document: a sentence, a stable word, and what belongs to it.
    const { error, code } = await response.json();
    throw Object.assign(new Error(`${error} (${code})`), { code });
  }
  return response;
}

/** Call the API; returns the document that it answers with. */
export async function call(method, path, body) {
  return (await send(method, path, body)).json();
}

/** Send a message to a session, and wait for the whole answer. */
export async function ask(id, prompt) {
  const answer = await call("POST", `/api/sessions/${id}/message`, { prompt, streaming: false });
  return answer.response.content;
}

/** Put text files into the workspace of a session: an object of paths and texts. */
export async function write(id, files) {
  const operations = Object.entries(files).map(([path, text]) => ({ op: "write", path, text }));
  return call("POST", `/api/sessions/${id}/workspace/ops`, { operations });
}

/** A text file of the workspace of a session. */
export async function read(id, path) {
  return (await send("GET", `/api/sessions/${id}/workspace/${path}`)).text();
}

/** Send a message to a session; yields the answer piece by piece. */
export async function* stream(id, prompt) {
  const response = await send("POST", `/api/sessions/${id}/message`, { prompt });
  for await (const { data } of events(response)) {
    if (data.type === "stream_event") yield data.data.event.delta.text;
    if (data.type === "error") throw Object.assign(new Error(data.error), { code: data.code });
  }
}

/** Follow the log of events, or that of one session, from its beginning on; yields each event with its cursor as `id`. */
export async function* follow(session) {
  const path = session === undefined ? "/api/events" : `/api/sessions/${session}/events`;
  yield* events(await send("GET", `${path}?follow=true`));
}

/** The server-sent events of a response. A network chunk may end anywhere, also within a character. */
async function* events(response) {
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name) => lines.find((line) => line.startsWith(name))?.slice(name.length);
      const data = field("data: ");
      // A comment keeps the connection alive, and has no data.
      if (data) yield { id: field("id: "), data: JSON.parse(data) };
    }
  }
}
