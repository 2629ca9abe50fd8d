// Asks the daemon for its status once a second, and shows it. All that comes from the daemon is
// put in as text, never as markup: clients choose their names.

const POLL = 1000; // milliseconds from one answer to the next question
const PATIENCE = 6000; // milliseconds to wait for an answer
const MAX_ROWS = 200; // of a table; the filter reaches the others
const MAX_NAMES = 12; // in one cell
const MAX_VIEWS = 100;
const MAX_REASON = 200; // characters; a proxy may answer with a page

const find = (id) => document.getElementById(id);

// Texts

const numbers = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  for (; count >= 1024 && place < units.length - 1; place++) count /= 1024;
  return `${count.toFixed(place && count < 10 ? 1 : 0)} ${units[place]}`;
}

function time(seconds) {
  const steps = [["d", 86400], ["h", 3600], ["min", 60]];
  const place = steps.findIndex(([, length]) => seconds >= length);
  if (place < 0) return `${seconds} s`;
  const [[unit, length], next] = [steps[place], steps[place + 1] ?? ["s", 1]];
  const rest = Math.floor((seconds % length) / next[1]);
  return `${Math.floor(seconds / length)} ${unit}` + (rest ? ` ${rest} ${next[0]}` : "");
}

// The names for a cell, which is to have `count` of them.
function names(list, count) {
  const shown = list.slice(0, MAX_NAMES);
  return count > shown.length ? [...shown, `and ${numbers.format(count - shown.length)} more`] : shown;
}

// Where a session comes from, as `ss` shows it, and how if that is not TCP.
function place({ address, port, transport }) {
  if (!address) return "unix socket";
  const at = (address.includes(":") ? `[${address}]` : address) + (port ? `:${port}` : "");
  return transport === "tcp" ? at : `${at} over ${transport.toUpperCase()}`;
}

// Announced by screen readers, and so used with restraint.
function say(text) {
  if (find("message").textContent !== text) find("message").textContent = text;
}

// Elements

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Shows a text, or several, each of which stays in one piece.
function fill(cell, content) {
  if (typeof content === "string") return setText(cell, content);
  if (cell.textContent === content.join(" ")) return;
  const pieces = content.map((textContent) => element("span", { textContent }));
  cell.replaceChildren(...pieces.flatMap((piece, place) => (place ? [" ", piece] : [piece])));
}

// A line of values, the last one on the right, with the present and the highest one in words.
class Chart {
  static WIDTH = 240;
  static HEIGHT = 48;

  constructor(figure) {
    this.counter = figure.dataset.counter;
    this.format = "bytes" in figure.dataset ? bytes : (count) => short.format(count);
    this.title = figure.querySelector("figcaption").textContent;
    const svg = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
    [this.svg, this.line, this.area] = ["svg", "polyline", "polygon"].map(svg);
    this.svg.setAttribute("viewBox", `0 0 ${Chart.WIDTH} ${Chart.HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.svg.append(this.area, this.line);
    [this.now, this.highest] = [element("strong"), element("small")];
    figure.append(this.now, this.highest, this.svg);
  }

  show(history) {
    const values = history[this.counter] ?? [];
    const last = values.at(-1) ?? 0;
    const highest = Math.max(0, ...values);
    const x = (place) => Chart.WIDTH - ((values.length - 1 - place) * Chart.WIDTH) / 59;
    const y = (value) => Chart.HEIGHT - 1 - (value * (Chart.HEIGHT - 3)) / Math.max(highest, 1);
    const points = values.map((value, place) => `${x(place).toFixed(1)},${y(value).toFixed(1)}`);
    this.line.setAttribute("points", points.join(" "));
    const [left, bottom] = [x(0).toFixed(1), Chart.HEIGHT];
    this.area.setAttribute(
      "points",
      points.length ? `${left},${bottom} ${points.join(" ")} ${Chart.WIDTH},${bottom}` : "",
    );
    setText(this.now, `${this.format(last)}/s`);
    setText(this.highest, `highest ${this.format(highest)}/s`);
    const text = `${this.title} in the last minute: ${this.format(last)} per second in the last second, `
      + `${this.format(highest)} at most`;
    this.svg.setAttribute("aria-label", text);
  }
}

// A table whose rows stay the same elements as long as they stand for the same, so that the
// focus and a selection stay where they are.
class Table {
  // `key` names an item, `cells` returns what its row shows; the first cell is its header.
  constructor(id, { key, cells, filtered = () => [], what, note = "", finish = () => {} }) {
    Object.assign(this, { key, cells, filtered, what, note, finish, rows: new Map(), items: [], count: 0 });
    this.table = find(id);
    this.filter = find(`${id}-filter`);
    this.columns = [...this.table.tHead.rows[0].cells];
    this.filter?.addEventListener("input", () => {
      this.draw();
      say(this.table.caption.textContent);
    });
    for (const column of this.columns.filter((column) => column.dataset.column)) {
      const button = element("button", { type: "button" }, ...column.childNodes);
      column.append(button);
      button.addEventListener("click", () => this.sortBy(column));
    }
    const first = this.columns[0];
    if (first.dataset.column) this.sortBy(first);
  }

  sortBy(column) {
    const opposite = { ascending: "descending", descending: "ascending" };
    const order = opposite[column.ariaSort] ?? ("highest" in column.dataset ? "descending" : "ascending");
    this.columns.forEach((other) => other.removeAttribute("aria-sort"));
    column.ariaSort = order;
    this.sorted = [column.dataset.column, order === "ascending" ? 1 : -1];
    this.draw();
  }

  // Shows items; `count` is how many there are, also of those that the daemon does not list.
  show(items, count = items.length) {
    [this.items, this.count] = [items, count];
    this.draw();
  }

  draw() {
    const wanted = this.filter?.value.trim().toLowerCase() ?? "";
    const has = (item) => this.filtered(item).some((text) => text?.toLowerCase().includes(wanted));
    const found = wanted ? this.items.filter(has) : [...this.items];
    if (this.sorted) {
      const [column, sign] = this.sorted;
      const compare = (a, b) =>
        typeof a === "number" ? a - b : (a ?? "").localeCompare(b ?? "", "en", { numeric: true });
      found.sort((a, b) => sign * compare(a[column], b[column]));
    }
    const shown = found.slice(0, MAX_ROWS);
    const all = wanted ? found.length : this.count;
    const part = shown.length < all ? ` Shown: ${shown.length}.` : "";
    const counted = wanted ? `${numbers.format(found.length)} of ${numbers.format(this.count)}`
      : numbers.format(this.count);
    const what = this.what + (this.count === 1 ? "" : "s");
    setText(this.table.caption, `${counted} ${what}${this.note}.${part}`);
    this.place(shown);
  }

  place(items) {
    const body = this.table.tBodies[0];
    const kept = new Map();
    items.forEach((item, place) => {
      const key = this.key(item);
      const row = this.rows.get(key) ?? this.makeRow();
      kept.set(key, row);
      this.cells(item).forEach((content, column) => fill(row.cells[column], content));
      this.finish(row, item);
      if (body.rows[place] !== row) {
        const focused = row.contains(document.activeElement) ? document.activeElement : null;
        body.insertBefore(row, body.rows[place] ?? null);
        focused?.focus({ preventScroll: true });
      }
    });
    while (body.rows.length > items.length) {
      const row = body.rows[items.length];
      const hadFocus = row.contains(document.activeElement);
      row.remove();
      if (hadFocus) this.filter?.focus();
    }
    this.rows = kept;
  }

  makeRow() {
    const cell = (column, place) => {
      const made = element(place ? "td" : "th", { className: column.className });
      if (!place) made.scope = "row";
      if (/^(Groups|Names|Change|Reason)$/.test(column.textContent)) made.classList.add("names");
      made.hidden = column.hidden;
      return made;
    };
    return element("tr", {}, ...this.columns.map(cell));
  }
}

// What is on the page

const charts = [...document.querySelectorAll("figure")].map((figure) => new Chart(figure));

const sessions = new Table("sessions", {
  what: "session",
  key: (s) => s.private_group,
  cells: (s) => [
    s.private_group,
    place(s),
    s.user ?? "",
    time(s.connected_seconds),
    numbers.format(s.queued),
    numbers.format(s.received),
    numbers.format(s.delivered),
    s.throttled_by ?? "",
    names(s.group_names, s.groups),
  ],
  filtered: (s) => [s.private_group, place(s), s.user, s.throttled_by, ...s.group_names],
  finish: addKick,
});

const groups = new Table("groups", {
  what: "group",
  key: (g) => g.name,
  cells: (g) => [g.name, numbers.format(g.members), names(g.member_names, g.members)],
  filtered: (g) => [g.name, ...g.member_names],
});

const views = new Table("views", {
  what: "view",
  note: ", the last first",
  key: (v) => v.number,
  cells: (v) => [v.time, v.group, numbers.format(v.members), change(v)],
});

const cutOffs = new Table("cut-offs", {
  what: "session",
  note: ", the last first",
  key: (c) => `${c.private_group} ${c.place}`,
  cells: (c) => [c.private_group, c.address || "unix socket", time(c.seconds_ago), c.detail],
});

function change(view) {
  const texts = {
    join: `${view.member} joined`,
    leave: `${view.member} left`,
    disconnect: `${view.member} disconnected`,
    network: "hosts parted or came together",
  };
  return texts[view.cause] ?? view.cause;
}

function showNumbers(status) {
  const count = (name) => numbers.format(status[name] ?? 0);
  const limit = (name) => numbers.format(status.limits[name]);
  const shown = {
    Sessions: `${count("sessions")} of ${limit("sessions")}`,
    Groups: count("groups"),
    Memberships: count("members"),
    "Waiting messages": count("queued_messages"),
    "Their bytes": bytes(status.queued_bytes),
    "Longest queue": `${count("longest_queue_messages")} of ${limit("session_messages")}`,
    "Connected so far": count("connected_total"),
    Rejected: count("rejected_total"),
    "Did not read": count("cut_off_total"),
    "Broke the protocol": count("protocol_errors_total"),
    Kicked: count("kicked_total"),
    "Waits of senders": count("throttled_total"),
    "Refused requests": count("refused_total"),
  };
  const list = find("numbers");
  for (const [place, [name, value]] of Object.entries(shown).entries()) {
    const row = list.children[place]
      ?? list.appendChild(element("div", {}, element("dt", { textContent: name }), element("dd")));
    setText(row.lastChild, value);
  }
}

function showHosts(hosts) {
  find("hosts").hidden = !hosts;
  if (!hosts) return;
  const absent = hosts.absent.length ? `; absent: ${hosts.absent.join(", ")}` : "";
  const forming = hosts.forming ? "; the next configuration is being formed" : "";
  setText(
    find("hosts").querySelector("p"),
    `Present: ${hosts.present.join(", ") || "none"}${absent}${forming}.`,
  );
}

// Kicking

let canKick = false;
let asked = null; // the session that the dialog asks about

function addKick(row, session) {
  const cell = row.lastElementChild;
  cell.hidden = !canKick;
  if (canKick && !cell.firstChild) {
    const button = element("button", { type: "button", textContent: "Kick" });
    button.ariaLabel = `Kick ${session.private_group}`;
    button.addEventListener("click", () => confirmKick(session.private_group));
    cell.append(button);
  }
}

function confirmKick(name) {
  if (!find("token").value) {
    say("To kick a session, first give the token.");
    find("token").focus();
    return;
  }
  asked = sessions.items.find((session) => session.private_group === name);
  say("");
  setText(find("question"), `End the session of ${name}?`);
  find("yes").onclick = () => kick(name);
  find("confirm").showModal();
}

// Closes the dialog when the session has ended: a later one can have the same name.
function forgetKick(present) {
  const same = present.find((session) => session.private_group === asked?.private_group);
  const isThere = same && place(same) === place(asked) && same.connected_seconds >= asked.connected_seconds;
  if (!find("confirm").open || isThere) return;
  find("confirm").close();
  say(`The session of ${asked?.private_group} has ended.`);
}

async function kick(name) {
  find("confirm").close();
  try {
    const answer = await fetch(`kick/${encodeURIComponent(name)}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${find("token").value}` },
      signal: AbortSignal.timeout(PATIENCE),
    });
    say(answer.ok ? `Kicked ${name}.` : await answer.text());
  } catch (error) {
    say(`Not kicked: ${error.message}`);
  }
  poll();
}

// The status, again and again

let started = null; // the start of the daemon that is shown
let seen = 0; // the number of the last view
let recent = []; // the last views, the last first
let lostAt = null; // when the daemon was lost, while it is
let timer = null;
let polling = null; // the poll that is under way

function show(status) {
  // A daemon that has started again counts its views anew.
  if (status.start_time_seconds !== started || status.views_total < seen) {
    started = status.start_time_seconds;
    [seen, recent] = [0, []];
  }
  const clock = (view) => new Date(Date.now() - view.seconds_ago * 1000).toLocaleTimeString();
  const unseen = status.views.filter((view) => view.number > seen);
  const news = unseen.map((view) => ({ ...view, time: clock(view) }));
  if (find("aloud").checked && news.length) say(`${news[0].group}: ${change(news[0])}`);
  recent = [...news, ...recent].slice(0, MAX_VIEWS);
  seen = status.views_total;
  document.title = `${status.daemon} · spreadd`;
  setText(find("daemon"), status.daemon);
  const since = new Date(started * 1000).toLocaleString();
  setText(find("facts"), `Version ${status.version}, since ${since} (${time(status.uptime_seconds)})`);
  const hasKick = canKick !== status.can_kick;
  canKick = status.can_kick;
  if (hasKick) {
    document.querySelector("th.kick").hidden = find("token-field").hidden = !canKick;
  }
  charts.forEach((chart) => chart.show(status.history));
  showNumbers(status);
  showHosts(status.hosts);
  forgetKick(status.session_list);
  sessions.show(status.session_list, status.sessions);
  groups.show(status.group_list, status.groups);
  views.show(recent, status.views_total);
  const ended = status.cut_offs.length;
  cutOffs.show(status.cut_offs.map((cutOff, place) => ({ ...cutOff, place: ended - place })));
}

// Returns the status, or why there is none.
async function fetchStatus() {
  try {
    const answer = await fetch("status.json", { signal: AbortSignal.timeout(PATIENCE) });
    if (answer.ok) return { status: await answer.json() };
    const text = (await answer.text()).trim().slice(0, MAX_REASON);
    return { reason: `${answer.status}: ${text}` };
  } catch (error) {
    return { reason: error.message };
  }
}

async function askStatus() {
  const { status, reason } = await fetchStatus();
  const before = started;
  if (status) show(status);
  if (status && before !== null && started !== before) say("The daemon has restarted.");
  else if (status && lostAt) say("The daemon answers again.");
  lostAt = status ? null : (lostAt ?? new Date().toLocaleTimeString());
  if (lostAt) {
    forgetKick([]);
    const name = find("daemon").textContent;
    document.title = `No status${name && ` of ${name}`} · spreadd`;
    say(`No status since ${lostAt} (${reason}). This page tries again each second.`);
  }
  document.body.classList.toggle("lost", lostAt !== null);
}

async function poll() {
  clearTimeout(timer);
  polling ??= askStatus().finally(() => (polling = null));
  try {
    await polling;
  } finally {
    clearTimeout(timer);
    if (isWatched()) timer = setTimeout(poll, POLL);
  }
}

const isWatched = () => !document.hidden && find("pause").ariaPressed !== "true";

find("pause").addEventListener("click", ({ target }) => {
  target.ariaPressed = String(target.ariaPressed !== "true");
  if (isWatched()) poll();
  else clearTimeout(timer);
});
find("no").addEventListener("click", () => find("confirm").close());
document.addEventListener("visibilitychange", () => isWatched() && poll());
poll();
