// SPDX-License-Identifier: MIT
// One chat through the official openai package, whole or streamed; prints {"text", "finish", "usage"} as JSON.
// usage: node openai_chat.cjs BASE_URL MODEL whole|stream PROMPT     (NODE_PATH leads to the installed package)
'use strict';

const OpenAI = require('openai');

async function main([baseURL, model, how, prompt]) {
  const client = new OpenAI({ baseURL, apiKey: 'any', maxRetries: 0, timeout: 60000 });
  const body = { model, messages: [{ role: 'user', content: prompt }], max_tokens: 256, temperature: 0 };
  if (how === 'whole') {
    const answer = await client.chat.completions.create(body);
    const [choice] = answer.choices;
    return { text: choice.message.content, finish: choice.finish_reason, usage: answer.usage };
  }
  const got = { text: '', finish: null, usage: null };
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create({ ...body, ...options })) {
    for (const choice of chunk.choices) {
      got.text += choice.delta.content ?? '';
      got.finish = choice.finish_reason ?? got.finish;
    }
    got.usage = chunk.usage ?? got.usage;
  }
  return got;
}

main(process.argv.slice(2)).then(
  (got) => console.log(JSON.stringify(got)),
  (error) => {
    console.error(`${error.name}: ${error.message}`);
    process.exitCode = 1;
  },
);
