// What the page asks of the server.

let key = sessionStorage.getItem("graphkv-key") ?? "";

export function setKey(value) {
  key = value;
  sessionStorage.setItem("graphkv-key", value);
}

export const hasKey = () => key !== "";

// APIError is an error that the server describes.
export class APIError extends Error {
  constructor(status, body, seconds) {
    super((body?.error?.message ?? `the server answered ${status}`) + (seconds ? `; try again in ${seconds} s` : ""));
    this.status = status;
  }
}

async function call(path, body, signal) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (!response.ok) throw new APIError(response.status, await response.json().catch(() => null), response.headers.get("Retry-After"));
  return response;
}

export async function models() {
  return (await (await call("v1/models")).json()).data;
}

export async function strategies() {
  return (await (await call("v1/graphkv/strategies")).json()).data;
}

// trace asks and yields what happens: "plan", "prepared", "text"…, "done", "read", "mask".
export async function* trace(body, signal) {
  const response = await call("v1/graphkv/trace", body, signal);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new APIError(200, event);
    yield event;
  }
  throw new Error("the connection was lost");
}

// events splits a stream of server-sent events into their data.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const lines = rest.slice(0, end).split("\n");
      rest = rest.slice(end + 2);
      const data = lines.filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trimStart());
      if (data.length) yield data.join("\n");
    }
  }
}
