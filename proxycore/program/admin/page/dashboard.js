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

const clock = (wall) => new Date(wall * 1000).toLocaleTimeString();

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

// Columns: [title, class, fill(cell, row)]. Rows are told apart by `key`.
function fillTable(table, columns, rows, key, empty) {
  if (!table.tHead) {
    table.append(element('thead', {}, element('tr', {}, ...columns.map(([title, kind]) => element('th', { scope: 'col', className: kind }, title)))));
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
      line = element('tr', {}, ...columns.map(([, kind]) => element('td', { className: kind })));
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

// ---- plots

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 300;
const HEIGHT = 110;

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function plot(svg, lines, format) {
  const top = Math.max(...lines.flatMap(([, values]) => values.map((value) => value ?? 0)), 0);
  const scale = (value) => HEIGHT - 14 - (top ? (value / top) * (HEIGHT - 34) : 0);
  const x = (index) => WIDTH - (series.length - 1 - index) * (WIDTH / (SECONDS - 1));
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.replaceChildren(shape('line', { x1: 0, x2: WIDTH, y1: scale(0), y2: scale(0), class: 'grid' }));
  for (const [kind, values] of lines) {
    const points = values.map((value, index) => (value === null ? null : `${x(index).toFixed(1)},${scale(value).toFixed(1)}`)).filter(Boolean);
    svg.append(shape('polyline', { points: points.join(' '), class: kind, 'vector-effect': 'non-scaling-stroke' }));
  }
  const shown = svg.cursor ?? series.length - 1;
  if (svg.cursor !== undefined) svg.append(shape('line', { x1: x(shown), x2: x(shown), y1: 6, y2: scale(0), class: 'cursor', 'vector-effect': 'non-scaling-stroke' }));
  const legend = svg.nextElementSibling;
  if (!legend.firstChild) legend.append(...lines.map(([kind]) => element('span', { className: kind })));
  lines.forEach(([, values], index) => setText(legend.children[index], format(values[shown] ?? null)));
}

function drawPlots() {
  const column = (name) => series.map((second) => second[name]);
  plot(byId('plot-requests'), [['a', column('requests')], ['b', column('failed')]], (value) => count(value ?? 0));
  for (const [id, name] of [['plot-duration', 'duration'], ['plot-first-byte', 'first_byte']]) {
    const percentiles = series.map((second) => second[name]);
    plot(byId(id), ['a', 'c', 'b'].map((kind, which) => [kind, percentiles.map((values) => values[which])]), seconds);
  }
  plot(byId('plot-traffic'), [['a', column('sent')], ['c', column('received')]], (value) => bytes(value ?? 0));
}

for (const svg of document.querySelectorAll('figure svg')) {
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const back = Math.round((1 - (event.clientX - box.left) / box.width) * (SECONDS - 1));
    svg.cursor = Math.max(0, series.length - 1 - back);
    drawPlots();
  });
  svg.addEventListener('pointerleave', () => { svg.cursor = undefined; drawPlots(); });
}

// ---- actions

function ask(title, text, field) {
  setText(byId('confirm-title'), title);
  setText(byId('confirm-text'), text);
  const input = byId('confirm-input');
  byId('confirm-field').hidden = !field;
  input.required = Boolean(field);
  if (field) { setText(byId('confirm-label'), field.label); input.type = field.type; input.min = field.min; input.value = field.value; }
  const dialog = byId('confirm');
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes' ? (field ? input.value : true) : null), { once: true });
  });
}

async function act(method, path, body) {
  let text;
  try {
    const response = await fetch(`api/v1/${path}`, {
      method, headers: { 'X-Proxycore-Action': '1', 'Content-Type': 'application/json' }, body: body && JSON.stringify(body),
    });
    text = response.ok ? 'Done.' : `Refused: ${(await response.json()).detail ?? response.statusText}`;
  } catch (error) {
    text = `Not done: ${error.message}`;
  }
  const told = byId('told');
  setText(told, text);
  told.hidden = false;
  clearTimeout(told.timer);
  told.timer = setTimeout(() => { told.hidden = true; }, 5000);
}

function serverActions(cell, upstream, server) {
  if (!cell.firstChild) {
    const path = () => `upstreams/${encodeURIComponent(upstream)}/servers/${encodeURIComponent(cell.server.name)}`;
    const button = (label, action) => element('button', { type: 'button', onclick: action, ariaLabel: `${label} ${server.name}` }, label);
    const change = (state, text) => async () => {
      if (await ask(`${state} ${cell.server.name}?`, text)) await act('PATCH', path(), { mode: { Drain: 'drained', Disable: 'disabled', Enable: 'enabled' }[state] });
    };
    const weigh = async () => {
      const weight = await ask(`Weight of ${cell.server.name}`, 'Its share of the load, beside those of the other servers.', { label: 'Weight', type: 'number', min: 0, value: cell.server.weight });
      if (weight !== null) await act('PATCH', path(), { weight: Number(weight) });
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
  // Whoever works by keyboard stays where they are.
  if (had?.hidden) [...cell.firstChild.children].find((button) => !button.hidden).focus();
}

// ---- sections

const LEVELS = { up: 'good', drained: 'warn', disabled: 'warn', down: 'bad', ejected: 'bad' };

const SERVER_COLUMNS = (upstream) => [
  ['Server', '', (row, cell) => badge(cell, row.name, 'name', row.url.endsWith(`://${row.name}`) ? '' : row.url)],
  ['State', '', (row, cell) => badge(cell, row.state, LEVELS[row.state] ?? '', row.reason)],
  ['Weight', 'number', (row) => `${number.format(row.weight)}${row.backup ? ' backup' : ''}`],
  ['In flight', 'number', (row) => count(row.active)],
  ['Connections', 'number', (row) => `${count(row.connections)} (${count(row.idle)} idle)`],
  ['Requests', 'number', (row) => count(row.requests)],
  ['Failed', 'number', (row) => percent(row.failed, row.requests)],
  ['p95', 'number', (row) => seconds(row.duration[1])],
  ['', '', (row, cell) => serverActions(cell, upstream, row)],
];

function drawUpstreams(upstreams) {
  const list = byId('upstream-list');
  list.cards ??= new Map();
  const names = new Set(upstreams.map((upstream) => upstream.name));
  for (const [name, card] of list.cards) if (!names.has(name)) { card.remove(); list.cards.delete(name); }
  for (const upstream of upstreams) {
    let card = list.cards.get(upstream.name);
    if (!card) {
      const table = element('table');
      card = element('article', { className: 'card' },
        element('header', {}, element('h3', {}, upstream.name), element('small')),
        element('div', { className: 'scroll', tabIndex: 0, ariaLabel: `servers of ${upstream.name}` }, table));
      card.columns = SERVER_COLUMNS(upstream.name);
      list.cards.set(upstream.name, card);
      list.append(card);
    }
    const up = upstream.servers.filter((server) => server.state === 'up').length;
    setText(card.querySelector('small'), `${upstream.balance} · ${up} of ${upstream.servers.length} up · ${count(upstream.in_flight)} in flight · ${count(upstream.queued)} queued · ${count(upstream.retries)} retries`);
    fillTable(card.querySelector('table'), card.columns, upstream.servers, (row) => row.name, 'This upstream has no servers.');
  }
  if (!upstreams.length && !list.firstChild) list.append(element('p', { className: 'card empty' }, 'No upstreams are configured.'));
}

const ROUTE_COLUMNS = [
  ['Route', '', (row) => row.name],
  ['Takes', 'wide', (row) => row.match],
  ['Leads to', '', (row) => row.action],
  ['Requests', 'number', (row) => count(row.requests)],
  ['Failed', 'number', (row) => percent(row.failed, row.requests)],
  ['p50', 'number', (row) => seconds(row.duration[0])],
  ['p95', 'number', (row) => seconds(row.duration[1])],
  ['p99', 'number', (row) => seconds(row.duration[2])],
];
const LISTENER_COLUMNS = [
  ['Listener', '', (row) => row.name],
  ['Address', '', (row) => row.bind.join(', ')],
  ['Protocols', '', (row) => `${row.protocols.join(', ')}${row.tls ? ' over TLS' : ''}`],
  ['Connections', 'number', (row) => count(row.connections)],
];
const FAILURE_COLUMNS = [
  ['Time', '', (row) => clock(row.wall)],
  ['Request', 'wide', (row) => `${row.method} ${row.target}`],
  ['Status', 'number', (row) => (row.status ? String(row.status) : '–')],
  ['Cause', '', (row, cell) => badge(cell, row.cause.replaceAll('_', ' '), 'bad', row.detail)],
  ['Route', '', (row) => row.route || '–'],
  ['Server', '', (row) => (row.server ? `${row.upstream}/${row.server}` : row.upstream || '–')],
  ['After', 'number', (row) => seconds(row.duration)],
  ['Client', '', (row) => row.client],
];
const CHANGE_COLUMNS = [
  ['Time', '', (row) => clock(row.wall)],
  ['Server', '', (row) => `${row.upstream}/${row.server}`],
  ['Became', '', (row, cell) => badge(cell, row.state, LEVELS[row.state] ?? '', '')],
  ['Why', 'wide', (row) => row.reason || '–'],
];
const CAUSE_COLUMNS = [
  ['Cause', '', (row) => row.cause.replaceAll('_', ' ')],
  ['Where or why', '', (row) => row.detail || '–'],
  ['Exchanges', 'number', (row) => count(row.count)],
];
function drawTiles(status) {
  const last = series.at(-1);
  const tiles = [
    ['Requests', `${count(last.requests)}/s`],
    ['Failed', percent(last.failed, last.requests), last.failed > 0],
    ['p95', seconds(last.duration[1])],
    ['Connections', count(status.connections)],
    ['In flight', count(status.exchanges)],
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

function draw(status) {
  setText(byId('version'), status.version);
  setText(byId('about'), `${status.binding}${status.workers > 1 ? ` · ${status.workers} workers` : ''} · up ${span(status.uptime)}`);
  const state = byId('state');
  state.dataset.level = status.draining ? 'bad' : 'good';
  setText(state, status.draining ? 'draining' : 'serving');
  drawTiles(status);
  drawPlots();
  drawUpstreams(status.upstreams);
  fillTable(byId('failures'), FAILURE_COLUMNS, status.failures, (row) => `${row.wall} ${row.request_id}`, 'Nothing has failed since the start.');
  fillTable(byId('changes'), CHANGE_COLUMNS, status.changes, (row) => `${row.wall} ${row.upstream} ${row.server} ${row.state}`, 'No server has changed since the start.');
  fillTable(byId('routes'), ROUTE_COLUMNS, status.routes, (row) => row.name, 'No routes.');
  fillTable(byId('listeners'), LISTENER_COLUMNS, status.listeners, (row) => row.name, 'No listeners.');
  fillTable(byId('causes'), CAUSE_COLUMNS, status.causes, (row) => `${row.cause} ${row.detail}`, 'Every exchange was completed.');
}

const events = new EventSource('api/v1/events');
events.onmessage = (event) => {
  const told = JSON.parse(event.data);
  series.push(...told.seconds);
  series.splice(0, Math.max(0, series.length - SECONDS));
  if (series.length) draw(told.status);
};
events.onopen = () => { series.length = 0; };
events.onerror = () => {
  const state = byId('state');
  state.dataset.level = 'bad';
  setText(state, 'no connection to the proxy: trying again');
};
