// Questions to begin with.

export const examples = [
  {
    name: "A museum and what it is made of",
    question: "Who designed the Guggenheim Museum in Bilbao, and in which year did it open?",
    passages: [
      { id: "puppy", title: "Puppy", text: "Puppy is a sculpture by Jeff Koons. It shows a West Highland White Terrier, twelve metres tall and covered with living flowers that are replanted twice a year. It stands in front of a museum in Bilbao." },
      { id: "river", title: "Nervion", text: "The Nervion is a river in the north of Spain. It flows through Bilbao and reaches the Bay of Biscay after 72 kilometres. For a century its banks were lined with shipyards and steel works." },
      { id: "gehry", title: "Frank Gehry", text: "Frank Gehry was an architect who was born in Toronto in 1929 and worked in Los Angeles. He is known for curved buildings with a skin of metal, such as the Walt Disney Concert Hall." },
      { id: "titanium", title: "Titanium", text: "Titanium is a light and strong metal that does not rust. It is used in aircraft, in implants and, in thin sheets, on the outside of buildings." },
      { id: "museum", title: "Guggenheim Museum", text: "The Guggenheim Museum Bilbao is a museum of modern art on the bank of the Nervion. It was designed by Frank Gehry, is covered with 33,000 sheets of titanium, and opened in October 1997.", links: ["gehry", "river", "titanium", "puppy"] },
    ],
  },
  {
    name: "Two hops: a town and its country",
    question: "In which country was the violinist Ada Morell born?",
    passages: [
      { id: "ada", title: "Ada Morell", text: "Ada Morell, a violinist, was born in Tarnvik. She gave her first concert at the age of nine and still plays every day.", links: ["tarnvik"] },
      { id: "tarnvik", title: "Tarnvik", text: "The town of Tarnvik lies on the west coast of Norway. Visitors come to see its wooden harbour." },
      { id: "jonas", title: "Jonas Brell", text: "Jonas Brell, a poet, was born in Ostermark. He worked as a postman until his first book appeared.", links: ["ostermark"] },
      { id: "ostermark", title: "Ostermark", text: "The town of Ostermark lies in the south of Finland. Visitors come to see its glass works." },
    ],
  },
  {
    name: "Papers that cite each other",
    question: "Which paper introduced rotary position embeddings, and what builds on them?",
    passages: [
      { id: "rope", title: "RoFormer", text: "RoFormer introduced rotary position embeddings: queries and keys are rotated by angles that grow with their positions, so that their product depends on the distance alone." },
      { id: "yarn", title: "YaRN", text: "YaRN extends the context of models with rotary position embeddings. It scales slow frequencies, leaves fast ones alone, and needs little training.", links: ["rope"] },
      { id: "flash", title: "FlashAttention", text: "FlashAttention computes exact attention in blocks that fit into fast memory, with a running maximum and sum, and so reads and writes far less." },
      { id: "kv", title: "Graph-KV", text: "Graph-KV lets target segments attend only to the keys and values of their source segments. Sources share one range of rotary positions, so their order carries no meaning.", links: ["rope", "flash"] },
    ],
  },
];
