// Fetches the addresses that it is sent, one a line, all at once, and answers with a line for each: the status and the
// text. Knows nothing of the host but its contract: `fetch` is that of the engine.

let turns = 0;

async function fetched(line) {
    const [url, body] = line.split(" ");
    try {
        const response = await fetch(url, body ? { method: "POST", body } : {});
        return `${response.status} ${await response.text()}`;
    } catch (error) {
        return `failed: ${error.message}`;
    }
}

export const handler = {
    async handle(turn) {
        turns += 1;
        const text = turn.content.map((part) => (part.tag === "text" ? part.val : "")).join("");
        const told = text === "turns" ? [`${turns}`] : await Promise.all(text.split("\n").map(fetched));
        return { content: [{ tag: "text", val: told.join("\n") }], complete: false };
    },
};
