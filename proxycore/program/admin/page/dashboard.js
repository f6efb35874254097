// Draws what api/v1/events tells, once a second. Rows are kept and only their cells change, so that focus, selection
// and scrolling stay where a person put them.
'use strict';

const byId = (id) => document.getElementById(id);
const SECONDS = 300;
const series = [];

// ---- words and numbers

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const count = (value) => (value < 100_000 ? number.format(value) : short.format(value));
const percent = (part, whole) => (whole ? `${number.format((100 * part) / whole)} %` : '–');

function seconds(value) {
  if (value === null || value === undefined) return '–';
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${number.format(value * 1e3)} ms`;
  return `${number.format(value)} s`;
}

function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < 4) { value /= 1024; unit += 1; }
  return `${number.format(value)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
}

function span(value) {
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const at = Math.max(0, parts.findIndex(([size]) => value >= size));
  const [size, unit] = parts[at] ?? parts[3];
  const rest = parts[at + 1] ? Math.floor((value % size) / parts[at + 1][0]) : 0;
  return `${Math.floor(value / size)} ${unit}${rest ? ` ${rest} ${parts[at + 1][1]}` : ''}`;
}

// With the day, where it isn't today's.
function clock(wall) {
  const date = new Date(wall * 1000);
  const day = date.toDateString() === new Date().toDateString() ? {} : { day: 'numeric', month: 'short' };
  return date.toLocaleString([], { ...day, hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
}

// ---- elements

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Columns: [title, class, fill(row, cell), hint]; `fill` gives the text of a cell, or changes the cell. Rows are told apart by `key`.
function fillTable(table, columns, rows, key, empty) {
  if (!table.tHead) {
    table.append(element('thead', {}, element('tr', {}, ...columns.map(([title, kind, , hint]) => element('th', { scope: 'col', className: kind, title: hint ?? '' }, title)))));
    table.append(element('tbody'));
    table.rowsByKey = new Map();
  }
  const body = table.tBodies[0];
  const seen = new Set();
  rows.forEach((row, index) => {
    const name = key(row);
    seen.add(name);
    let line = table.rowsByKey.get(name);
    if (!line) {
      line = element('tr', {}, ...columns.map(([title, kind]) => element('td', { className: kind, 'data-title': title })));
      table.rowsByKey.set(name, line);
    }
    if (body.children[index] !== line) body.insertBefore(line, body.children[index] ?? null);
    columns.forEach(([, , fill], column) => {
      const result = fill(row, line.children[column]);
      if (typeof result === 'string') setText(line.children[column], result);
    });
  });
  for (const [name, line] of table.rowsByKey) {
    if (!seen.has(name)) { line.remove(); table.rowsByKey.delete(name); }
  }
  table.hidden = rows.length === 0;
  let note = table.nextElementSibling;
  if (!note) { note = element('p', { className: 'empty' }, empty); table.after(note); }
  note.hidden = rows.length !== 0;
}

function badge(cell, text, level, reason) {
  if (!cell.firstChild) cell.append(element('span', { className: 'badge' }), element('span', { className: 'reason' }));
  setText(cell.children[0], text);
  cell.children[0].className = `badge ${level}`;
  setText(cell.children[1], reason ?? '');
}

// A text that may be of any length: its first lines, and all of it for whoever points at it.
function clamped(cell, text) {
  if (!cell.firstChild) cell.append(element('span', { className: 'clamped' }));
  setText(cell.firstChild, text);
  if (cell.title !== text) cell.title = text;
}

// A bar that is as long as the share, and says so in words.
function bar(cell, share, text) {
  if (!cell.firstChild) cell.append(element('span', {}), element('div', { className: 'bar', ariaHidden: 'true' }, element('div')));
  setText(cell.children[0], text);
  cell.children[1].firstChild.style.width = `${Math.min(100, 100 * share)}%`;
}

function outages(row, cell) {
  const { ejected = 0, down = 0 } = row.turns;
  cell.title = `ejected ${ejected} times, down ${down} times`;
  return count(ejected + down);
}

function failures(row, cell) {
  cell.classList.toggle('bad', row.failed > 0);
  return percent(row.failed, row.requests);
}

// ---- plots

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 112;
const ABOVE = 8;
const BELOW = 4;
const LEFT = 52;

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A scale gives the height of a value from 0 to 1, and the values at which it has lines.
function linear(values, least) {
  const most = Math.max(...values, least);
  const step = 10 ** Math.floor(Math.log10(most));
  const top = [1, 2, 5, 10].map((factor) => factor * step).find((value) => value >= most);
  return { at: (value) => value / top, lines: [top / 2, top] };
}

// Of bytes: a power of two on top.
function binary(values) {
  const top = 2 ** Math.ceil(Math.log2(Math.max(...values, 1024)));
  return { at: (value) => value / top, lines: [top / 2, top] };
}

// One slow answer in five minutes would press everything else to the ground: durations differ by orders of magnitude.
function logarithmic(values) {
  const low = Math.floor(Math.log10(Math.max(Math.min(...values, 0.01), 1e-5)));
  const high = Math.max(Math.ceil(Math.log10(Math.max(...values, 0.01))), low + 1);
  const lines = Array.from({ length: high - low }, (_, index) => 10 ** (low + 1 + index));
  return { at: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low), lines };
}

function path(values, x, y) {
  let drawn = '';
  let isDown = false;
  values.forEach((value, index) => {
    if (value === null) { isDown = false; return; }
    // A second that has none at its sides is a dot.
    drawn += `${isDown ? 'L' : 'M'}${x(index).toFixed(1)} ${y(value).toFixed(1)}${isDown ? '' : 'h.01'}`;
    isDown = true;
  });
  return drawn;
}

// Lines: [class, name, values]. The first is filled where `isFilled`.
function plot(svg, lines, { format, scale, isFilled = false }) {
  const width = svg.clientWidth || 300;
  const { at, lines: heights } = scale(lines.flatMap(([, , values]) => values.filter((value) => value !== null)));
  const y = (value) => HEIGHT - BELOW - at(value) * (HEIGHT - ABOVE - BELOW);
  const x = (index) => width - 1 - (series.length - 1 - index) * ((width - LEFT - 1) / (SECONDS - 1));
  svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
  const ground = HEIGHT - BELOW;
  const drawn = [shape('line', { x1: LEFT, x2: width, y1: ground, y2: ground, class: 'ground' })];
  for (const height of heights) {
    drawn.push(shape('line', { x1: LEFT, x2: width, y1: y(height), y2: y(height), class: 'grid' }));
    drawn.push(shape('text', { x: LEFT - 7, y: y(height) + 4 }, format(height)));
  }
  if (isFilled && series.length) {
    const outline = lines[0][2].map((value, index) => `L${x(index).toFixed(1)} ${y(value ?? 0).toFixed(1)}`).join('');
    drawn.push(shape('path', { d: `M${x(0).toFixed(1)} ${ground}${outline}V${ground}Z`, class: `area ${lines[0][0]}` }));
  }
  for (const [kind, , values] of lines) drawn.push(shape('path', { d: path(values, x, y), class: `line ${kind}` }));
  if (svg.cursor !== undefined) drawn.push(shape('line', { x1: x(svg.cursor), x2: x(svg.cursor), y1: ABOVE, y2: ground, class: 'cursor' }));
  svg.replaceChildren(...drawn);
  tellPlot(svg, lines, format);
}

function tellPlot(svg, lines, format) {
  const shown = svg.cursor ?? series.length - 1;
  const axis = svg.nextElementSibling;
  const legend = axis.nextElementSibling;
  setText(axis.lastElementChild, svg.cursor === undefined ? 'now' : `at ${clock(series[shown].wall)}`);
  if (!legend.firstChild) legend.append(...lines.map(([kind, name]) => element('span', { className: kind }, `${name} `, element('b'))));
  lines.forEach(([, , values], index) => setText(legend.children[index].lastChild, format(values[shown] ?? null)));
}

function drawPlots() {
  const column = (name) => series.map((second) => second[name]);
  const number = (value) => count(value ?? 0);
  const share = series.map((second) => (second.requests ? second.failed / second.requests : null));
  plot(byId('plot-requests'), [['a', 'all', column('requests')], ['b', 'failed', column('failed')]], { format: number, scale: (values) => linear(values, 1), isFilled: true });
  plot(byId('plot-failed'), [['b', 'failed', share]], { format: (value) => percent(value ?? 0, 1), scale: (values) => linear(values, 0.01), isFilled: true });
  plot(byId('plot-traffic'), [['a', 'sent', column('sent')], ['c', 'received', column('received')]], { format: (value) => bytes(value ?? 0), scale: binary, isFilled: true });
  for (const [id, name] of [['plot-duration', 'duration'], ['plot-first-byte', 'first_byte']]) {
    const lines = ['p99', 'p95', 'p50'].map((kind, index) => [kind, kind, series.map((second) => second[name][2 - index])]);
    plot(byId(id), lines, { format: seconds, scale: logarithmic });
  }
  plot(byId('plot-open'), [['a', 'connections', column('connections')], ['c', 'exchanges', column('exchanges')]], { format: number, scale: (values) => linear(values, 1), isFilled: true });
}

for (const svg of document.querySelectorAll('figure svg')) {
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const back = Math.round(((box.right - event.clientX) / (box.width - LEFT)) * (SECONDS - 1));
    svg.cursor = Math.max(0, series.length - 1 - back);
    if (series.length) drawPlots();
  });
  svg.addEventListener('pointerleave', () => { svg.cursor = undefined; if (series.length) drawPlots(); });
}
window.addEventListener('resize', () => { if (series.length) drawPlots(); });

// ---- actions

// What the open dialog waits for. It is told at once, not by the dialog's `close`, which comes some time after it: the
// next question may stand there by then.
let answer = () => {};

// Whoever works by keyboard stays where they are, also where the button they were at has gone meanwhile.
function stayNear(button) {
  if (button.hidden) button.parentElement.querySelector('button:not([hidden])')?.focus();
}

// Fields: [label, element]. The answer is null, or the values of the fields in their order.
function ask(title, text, ...fields) {
  setText(byId('confirm-title'), title);
  setText(byId('confirm-text'), text);
  byId('confirm-fields').replaceChildren(...fields.map(([label, field]) => element('label', {}, `${label} `, field)));
  const asking = document.activeElement;
  byId('confirm').showModal();
  fields[0]?.[1].select?.();
  return new Promise((resolve) => {
    answer = (isYes) => {
      byId('confirm').close();
      stayNear(asking);
      resolve(isYes ? fields.map(([, field]) => field.value) : null);
    };
  });
}

byId('confirm-no').addEventListener('click', () => answer(false));
byId('confirm').addEventListener('cancel', () => answer(false));
byId('confirm').firstElementChild.addEventListener('submit', (event) => { event.preventDefault(); answer(true); });

// What the API answers, null if that is nothing. Throws an Error that says why it didn't do it.
async function call(method, path, body) {
  const response = await fetch(`api/v1/${path}`, {
    method, headers: { 'X-Proxycore-Action': '1', 'Content-Type': 'application/json' }, body: body && JSON.stringify(body),
  });
  const content = await response.text();
  if (response.ok) return content ? JSON.parse(content) : null;
  let reason = response.statusText;
  try { reason = JSON.parse(content).detail ?? reason; } catch { /* an answer of somebody before the proxy */ }
  throw new Error(`Refused: ${reason}`);
}

// Done: the sentence that says so, made of the answer.
async function act(method, path, body, done) {
  try {
    tell(done(await call(method, path, body)));
  } catch (error) {
    tell(error.message);
  }
}

function tell(text) {
  const told = byId('told');
  setText(told, text);
  told.hidden = false;
  clearTimeout(told.timer);
  told.timer = setTimeout(() => { told.hidden = true; }, 5000 + 50 * text.length);
}

// By kind: what it is, and how one looks.
const PURGES = {
  url: ['one URL', 'https://example.com/news/1?page=2'],
  prefix: ['URLs that begin so', 'https://example.com/news/'],
  host: ['a host', 'example.com'],
  tag: ['a tag', 'news'],
};

byId('purge').addEventListener('click', async () => {
  const kind = element('select', {}, ...Object.entries(PURGES).map(([value, [name]]) => element('option', { value }, name)));
  const what = element('input', { type: 'text', required: true, placeholder: PURGES.url[1] });
  kind.addEventListener('change', () => { [, what.placeholder] = PURGES[kind.value]; });
  const given = await ask('Purge', 'What is stored goes from all caches at once; the next request for it asks a server.', ['What', kind], ['Which', what]);
  if (given) await act('POST', 'purge', { kind: given[0], what: given[1] }, ({ purged }) => `Purged: ${purged}.`);
});

const STEP_COLUMNS = [
  ['Step', '', (step) => step.stage],
  ['Verdict', 'wide', (step) => `${step.verdict} ${step.name}`],
  ['Why', 'wide', (step) => step.reason || '–'],
];

async function explain(failure) {
  let explanation;
  try {
    explanation = await call('GET', `failures/${encodeURIComponent(failure.request_id)}/explanation`);
  } catch (error) {
    tell(error.message);
    return;
  }
  clamped(byId('explained-title'), explanation.request);
  setText(byId('explained-result'), `Asked again, it ${explanation.result}.`);
  fillTable(byId('steps'), STEP_COLUMNS, explanation.steps.map((step, index) => ({ ...step, index })), (step) => step.index, 'Nothing is known.');
  byId('explained').showModal();
  byId('steps').parentElement.scrollTop = 0;
}

// The row that was asked about may have left meanwhile: who came by keyboard goes on from its table.
byId('explained').addEventListener('close', () => {
  if (document.activeElement === document.body) byId('failures').parentElement.focus();
});

function failureActions(cell, failure) {
  cell.failure = failure;
  if (cell.firstChild) return;
  const name = `Explain ${failure.method} ${failure.target.slice(0, 60)}`;
  cell.append(element('div', { className: 'actions' },
    element('button', { type: 'button', ariaLabel: name, onclick: () => explain(cell.failure) }, 'Explain')));
}

function serverActions(cell, upstream, server) {
  if (!cell.firstChild) {
    // Servers of several upstreams may have one name.
    const name = `${server.name} of ${upstream}`;
    const path = `upstreams/${encodeURIComponent(upstream)}/servers/${encodeURIComponent(server.name)}`;
    const button = (label, action) => element('button', { type: 'button', onclick: action, ariaLabel: `${label} ${name}` }, label);
    const change = (order, text) => async () => {
      const mode = { Drain: 'drained', Disable: 'disabled', Enable: 'enabled' }[order];
      if (await ask(`${order} ${name}?`, text)) await act('PATCH', path, { mode }, () => `Done: ${name} is ${mode}.`);
    };
    const weigh = async () => {
      const field = element('input', { type: 'number', min: 0, max: 65_535, required: true, value: cell.server.weight });
      const given = await ask(`Weight of ${name}`, 'Its share of the load, beside those of the other servers; 0 takes nothing new.', ['Weight', field]);
      if (given) await act('PATCH', path, { weight: Number(given[0]) }, () => `Done: ${name} weighs ${given[0]}.`);
    };
    cell.append(element('div', { className: 'actions' },
      button('Drain', change('Drain', 'It finishes what it has and takes nothing new.')),
      button('Disable', change('Disable', 'It takes nothing new, sticky sessions neither.')),
      button('Enable', change('Enable', 'It takes requests again.')),
      button('Weight', weigh)));
  }
  cell.server = server;
  const had = cell.contains(document.activeElement) ? document.activeElement : null;
  const [drain, disable, enable] = cell.firstChild.children;
  const isOn = !['drained', 'disabled'].includes(server.state);
  drain.hidden = !isOn;
  disable.hidden = server.state === 'disabled';
  enable.hidden = isOn;
  if (had) stayNear(had);
}

// ---- sections

const LEVELS = { up: 'good', added: 'good', drained: 'warn', disabled: 'warn', removed: 'warn', down: 'bad', ejected: 'bad' };

// What the badge says already isn't said twice.
const because = (state, reason) => (reason?.startsWith(`${state}: `) ? reason.slice(state.length + 2) : reason);

const SERVER_COLUMNS = (upstream) => [
  ['Server', 'first', (row, cell) => badge(cell, row.name, 'name', `${row.url.endsWith(`://${row.name}`) ? '' : row.url}${row.backup ? ' (backup)' : ''}`)],
  ['State', 'state', (row, cell) => badge(cell, row.state, LEVELS[row.state] ?? '', because(row.state, row.reason))],
  ['Weight', 'number', (row) => number.format(row.weight)],
  ['In flight', 'number', (row) => count(row.active)],
  ['Connections', 'number broad', (row) => `${count(row.connections)} (${count(row.idle)} idle)`],
  ['Requests', 'number', (row) => count(row.requests)],
  ['Failed', 'number', failures],
  ['First byte', 'number', (row) => seconds(row.first_byte[1]), 'p95 of the last minutes'],
  ['Outages', 'number', outages, 'times ejected or down since the start'],
  ['', 'last', (row, cell) => serverActions(cell, upstream, row)],
];

function drawUpstreams(upstreams) {
  const list = byId('upstream-list');
  list.cards ??= new Map();
  const names = new Set(upstreams.map((upstream) => upstream.name));
  for (const [name, card] of list.cards) if (!names.has(name)) { card.remove(); list.cards.delete(name); }
  for (const upstream of upstreams) {
    let card = list.cards.get(upstream.name);
    if (!card) {
      const table = element('table', { className: 'servers' });
      card = element('article', { className: 'card' },
        element('header', {}, element('h3', {}, upstream.name), element('small')),
        element('div', { className: 'scroll', tabIndex: 0, role: 'region', ariaLabel: `servers of ${upstream.name}` }, table));
      card.columns = SERVER_COLUMNS(upstream.name);
      list.cards.set(upstream.name, card);
      list.append(card);
    }
    const up = upstream.servers.filter((server) => server.state === 'up').length;
    setText(card.querySelector('small'), `${upstream.balance} · ${up} of ${upstream.servers.length} up · ${count(upstream.in_flight)} in flight · ${count(upstream.queued)} queued · ${count(upstream.retries)} retried`);
    fillTable(card.querySelector('table'), card.columns, upstream.servers, (row) => row.name, 'This upstream has no servers.');
  }
  if (!upstreams.length && !list.firstChild) list.append(element('p', { className: 'card empty' }, 'No upstreams are configured.'));
}

const ROUTE_COLUMNS = [
  ['Route', 'names', (row) => row.name],
  ['Takes', 'wide', (row) => row.match],
  ['Leads to', 'names', (row) => row.action],
  ['Requests', 'number', (row) => count(row.requests)],
  ['Failed', 'number', failures],
  ['p50', 'number', (row) => seconds(row.duration[0])],
  ['p95', 'number', (row) => seconds(row.duration[1])],
  ['p99', 'number', (row) => seconds(row.duration[2])],
];
const LISTENER_COLUMNS = [
  ['Listener', 'names', (row) => row.name],
  ['Address', 'names', (row) => row.bind.join(', ')],
  ['Protocols', '', (row) => `${row.protocols.join(', ')}${row.tls ? ' over TLS' : ''}`],
  ['Connections', 'number', (row) => count(row.connections)],
  ['Requests', 'number', (row) => count(row.requests)],
  ['Failed', 'number', failures],
];
// An exchange may be complete and have failed: who answered so?
const causeOf = (row) => (row.cause !== 'completed' ? row.cause.replaceAll('_', ' ') : row.server ? 'answered by server' : 'answered here');

const FAILURE_COLUMNS = [
  ['Time', '', (row) => clock(row.wall)],
  ['Request', 'wide', (row, cell) => clamped(cell, `${row.method} ${row.target}`)],
  ['Status', 'number', (row) => (row.status ? String(row.status) : '–')],
  ['Cause', 'wide', (row, cell) => badge(cell, causeOf(row), 'bad', row.detail)],
  ['Route', 'names', (row) => row.route || '–'],
  ['Server', 'names', (row) => (row.server ? `${row.upstream}/${row.server}` : row.upstream || '–')],
  ['After', 'number', (row) => seconds(row.duration)],
  ['Client', 'names', (row) => row.client],
  ['', 'last', (row, cell) => failureActions(cell, row)],
];
const CHANGE_COLUMNS = [
  ['Time', '', (row) => clock(row.wall)],
  ['Server', 'names', (row) => `${row.upstream}/${row.server}`],
  ['Became', '', (row, cell) => badge(cell, row.state, LEVELS[row.state] ?? '', '')],
  ['Why', 'wide', (row) => row.reason || '–'],
];
const CAUSE_COLUMNS = [
  ['Cause', '', (row) => row.cause.replaceAll('_', ' ')],
  ['Where or why', 'wide', (row) => row.detail || '–'],
  ['Exchanges', 'number', (row) => count(row.count)],
];
const CACHE_COLUMNS = [
  ['Cache', 'names', (row) => row.name],
  ['Hits', 'number', (row, cell) => bar(cell, ...hitShare(row))],
  ['Room', 'number', (row, cell) => bar(cell, row.used / row.size, `${bytes(row.used)} of ${bytes(row.size)}`)],
  ['Responses', 'number', (row) => count(row.objects)],
  ['Fresh', 'number', (row) => count(row.hits)],
  ['Revalidated', 'number', (row) => count(row.revalidated)],
  ['Stale', 'number', (row) => count(row.stale)],
  ['Joined', 'number', (row) => count(row.joined)],
  ['Missed', 'number', (row) => count(row.misses)],
  ['Bypassed', 'number', (row) => count(row.bypassed)],
  ['Evicted', 'number', (row) => count(row.evicted)],
];
const LIMIT_COLUMNS = [
  ['Limit', 'names', (row) => row.name],
  ['Of', '', (row) => (row.kind === 'rate' ? 'requests' : 'exchanges at once')],
  ['Refused', 'number', (row, cell) => { cell.classList.toggle('bad', row.refused > 0); return count(row.refused); }],
  ['Delayed', 'number', (row) => count(row.delayed)],
  ['Keys', 'number', (row) => (row.capacity === null ? count(row.keys) : `${count(row.keys)} of ${count(row.capacity)}`)],
];
const RULE_COLUMNS = [
  ['Rule', 'wide', (row, cell) => badge(cell, row.id, 'name', row.name)],
  ['Found', 'number', (row) => count(row.found)],
  ['Blocked', 'number', (row, cell) => { cell.classList.toggle('bad', row.blocked > 0); return count(row.blocked); }],
];

// Of those that may use the store, the share that no server had to make a response for.
function hitShare(row) {
  const spared = row.hits + row.stale + row.revalidated + row.joined;
  const asked = spared + row.misses;
  return [asked ? spared / asked : 0, percent(spared, asked)];
}

function drawTiles(status) {
  const last = series.at(-1);
  const servers = status.upstreams.flatMap((upstream) => upstream.servers);
  const up = servers.filter((server) => server.state === 'up');
  const tiles = [
    ['Requests', `${count(last.requests)}/s`],
    ['Failed', percent(last.failed, last.requests), last.failed > 0],
    ['Duration p95', seconds(last.duration[1])],
    ['Connections', count(status.connections)],
    ['In flight', count(status.exchanges)],
    ['Servers up', `${up.length} of ${servers.length}`, servers.some((server) => LEVELS[server.state] === 'bad')],
    ['Since start', count(status.totals.requests)],
    ['Retries', count(status.totals.retries)],
  ];
  const list = byId('tiles');
  if (!list.firstChild) list.append(...tiles.map(([title]) => element('div', {}, element('dt', {}, title), element('dd'))));
  tiles.forEach(([, value, isBad], index) => {
    setText(list.children[index].lastChild, value);
    list.children[index].className = isBad ? 'bad' : '';
  });
}

// Rows that come in each second would move away from under a pointer, or from who reads by keyboard.
const isHeld = (table) => !table.hidden && table.parentElement.matches(':hover, :focus-within');

function drawFailures(failures) {
  const table = byId('failures');
  const holds = isHeld(table);
  byId('failures-held').hidden = !holds;
  if (!holds) fillTable(table, FAILURE_COLUMNS, failures, (row) => `${row.wall} ${row.request_id}`, 'Nothing has failed since the start.');
}

function draw(status) {
  setText(byId('version'), status.version);
  setText(byId('about'), `${status.binding}${status.workers > 1 ? ` · ${status.workers} workers` : ''} · up ${span(status.uptime)}`);
  const state = byId('state');
  state.dataset.level = status.draining ? 'bad' : 'good';
  setText(state, status.draining ? 'draining' : 'serving');
  drawTiles(status);
  drawPlots();
  drawUpstreams(status.upstreams);
  drawFailures(status.failures);
  fillTable(byId('changes'), CHANGE_COLUMNS, status.changes, (row) => `${row.wall} ${row.upstream} ${row.server} ${row.state}`, 'No server has changed since the start.');
  fillTable(byId('routes'), ROUTE_COLUMNS, status.routes, (row) => row.name, 'No routes.');
  fillTable(byId('listeners'), LISTENER_COLUMNS, status.listeners, (row) => row.name, 'No listeners.');
  byId('purge').hidden = status.caches.length === 0;
  fillTable(byId('caches'), CACHE_COLUMNS, status.caches, (row) => row.name, 'No caches are configured.');
  fillTable(byId('limits'), LIMIT_COLUMNS, status.limits, (row) => `${row.kind} ${row.name}`, 'No route has a limit.');
  fillTable(byId('rules'), RULE_COLUMNS, status.rules, (row) => row.id, 'No rule has found anything.');
  fillTable(byId('causes'), CAUSE_COLUMNS, status.causes, (row) => `${row.cause} ${row.detail}`, 'Every exchange was completed.');
}

// ---- the connection

// Events come once a second. After this many milliseconds without one we ask anew: the proxy hangs or is gone, the network
// went away without a word, or an answer was refused, which a browser takes for final.
let silenceMax = 5000;
let events;
let watch;

function listen() {
  events?.close();
  events = new EventSource('api/v1/events');
  events.onopen = () => { series.length = 0; };
  events.onmessage = (event) => {
    hope();
    take(JSON.parse(event.data));
  };
  events.onerror = () => lose('no connection to the proxy: trying again');
  hope();
}

function hope() {
  clearTimeout(watch);
  watch = setTimeout(() => { lose('no news from the proxy: trying again'); listen(); }, silenceMax);
}

// What is shown was so then: it stays, and looks like it.
function lose(text) {
  document.body.classList.add('past');
  const state = byId('state');
  state.dataset.level = 'bad';
  setText(state, text);
}

function take(told) {
  document.body.classList.remove('past');
  series.push(...told.seconds);
  series.splice(0, Math.max(0, series.length - SECONDS));
  if (series.length) draw(told.status);
}

document.title = `${location.host} · proxycore`;
listen();
