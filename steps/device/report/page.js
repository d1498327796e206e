'use strict';
// All texts come from devices, so they enter the page as text nodes only: nothing here parses HTML.
(() => {
  const FATES = {
    lost: 'does not answer', failed: 'a step failed', back: 'on its old system', blocked: 'nothing was touched',
    pending: 'not through yet', ready: 'can be migrated', migrated: 'left its old system', online: 'online in balena',
  };
  const ORDER = Object.keys(FATES);
  const TROUBLE = ['lost', 'failed', 'back', 'blocked'];
  const STEPS = ['copy', 'precheck', 'prepare-image', 'collect-wifi', 'backup', 'build-initramfs', 'arm-boot', 'reboot', 'wait'];
  const COLOURS = {
    converged: '--done', skipped: '--idle', blocked: '--blocked', failed: '--failed', unreachable: '--lost', running: '--pending',
    interrupted: '--pending', back: '--back',
  };
  const CAUSES_SHOWN = matchMedia('(max-width: 46rem)').matches ? 3 : 6;
  const fleet = JSON.parse(document.getElementById('data').textContent);
  const byId = (id) => document.getElementById(id);
  const view = { states: new Set(), words: '', group: '', sort: 'need', cause: -1 };

  /** Makes an element; children are elements or texts, empty ones are left out. */
  function h(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === 'text') element.textContent = value;
      else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (value !== undefined && value !== false) element.setAttribute(name, value);
    }
    element.append(...children.filter((c) => c !== null && c !== undefined && c !== ''));
    return element;
  }

  // --- words ---

  const number = new Intl.NumberFormat();
  const names = new Intl.Collator(undefined, { numeric: true });
  const devices = (n) => number.format(n) + (n === 1 ? ' device' : ' devices');

  function duration(s) {
    if (s < 0.05) return '0 s';
    if (s < 10) return s.toFixed(1) + ' s';
    if (s < 60) return Math.round(s) + ' s';
    const two = (n) => String(n).padStart(2, '0');
    if (s < 3600) return Math.floor(s / 60) + ':' + two(Math.floor(s) % 60);
    return Math.floor(s / 3600) + ':' + two(Math.floor(s / 60) % 60) + ' h';
  }

  function ago(time) {
    const s = (Date.parse(fleet.made) - Date.parse(time)) / 1000;
    if (!Number.isFinite(s)) return '';
    if (s < 90) return 'just before the report';
    if (s < 5400) return Math.round(s / 60) + ' min before the report';
    if (s < 129600) return Math.round(s / 3600) + ' h before the report';
    return Math.round(s / 86400) + ' days before the report';
  }

  function clock(time) {
    const at = new Date(time);
    return Number.isNaN(at.getTime()) ? time : at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  }

  function bytes(n) {
    if (!n) return '';
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let i = 0;
    while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
    return (n < 10 && i ? n.toFixed(1) : Math.round(n)) + ' ' + units[i];
  }

  // --- the devices, each with what it is found and ordered by ---

  const last = (device) => device.attempts[device.attempts.length - 1];
  const items = fleet.devices.map((device) => {
    const facts = device.facts;
    const steps = last(device).steps;
    return {
      device, row: null, panel: null, element: null,
      seconds: steps.reduce((sum, s) => sum + s.seconds, 0),
      text: [device.host, device.address, device.fate, device.reason, device.device_id, device.groups.join(' '), facts.hostname, facts.os,
        facts.os_id, facts.os_version, facts.arch, facts.device_type, facts.disk, facts.image_version,
        ...steps.flatMap((s) => s.blocked.map((b) => b.check + ' ' + b.got))].join('\n').toLowerCase(),
    };
  });

  const orders = {
    need: (a, b) => ORDER.indexOf(a.device.fate) - ORDER.indexOf(b.device.fate) || names.compare(a.device.host, b.device.host),
    name: (a, b) => names.compare(a.device.host, b.device.host),
    since: (a, b) => (a.device.since < b.device.since ? 1 : a.device.since > b.device.since ? -1 : 0),
    time: (a, b) => b.seconds - a.seconds,
  };

  // --- head ---

  function verdict() {
    const trouble = TROUBLE.reduce((sum, f) => sum + fleet.counts[f], 0);
    const all = items.length;
    if (trouble) return devices(trouble) + (trouble === 1 ? ' needs you.' : ' need you.');
    if (fleet.damaged.length) return 'All readable reports are fine, but files are damaged.';
    if (fleet.counts.pending) return 'Nothing is wrong. ' + devices(fleet.counts.pending) + ' not through yet.';
    if (fleet.counts.online === all) return 'All ' + devices(all) + ' are online.';
    if (fleet.counts.ready === all) return 'All ' + devices(all) + ' can be migrated.';
    return 'All ' + devices(all) + ' are where they should be.';
  }

  function head() {
    byId('made').textContent = devices(items.length) + ', as of ' + clock(fleet.made);
    byId('made').title = fleet.made;
    byId('verdict').textContent = verdict();
    for (const fate of ORDER) {
      const n = fleet.counts[fate];
      if (!n) continue;
      const part = h('i', { 'data-fate': fate });
      part.style.flexGrow = n;
      byId('share').append(part);
      byId('tiles').append(h('button', { class: 'tile', type: 'button', 'data-fate': fate, 'aria-pressed': 'false', onclick: () => toggle(fate) },
        h('b', { text: number.format(n) }), h('span', { text: fate }), h('small', { text: FATES[fate] })));
    }
  }

  function cause(c, i, most) {
    const meter = h('i', { class: 'meter', 'aria-hidden': 'true' });
    meter.style.width = `min(${100 * c.hosts.length / most}%, ${22 * c.hosts.length / most}rem)`;
    return h('button', { class: 'cause', type: 'button', 'data-fate': c.fate, 'aria-pressed': 'false', onclick: () => pick(i), hidden: i >= CAUSES_SHOWN ? '' : false },
      h('b', { text: number.format(c.hosts.length) }),
      h('span', { class: 'what' }, h('em', { text: c.fate + (c.step ? ' in ' + c.step : '') }), ' – ' + c.cause),
      c.remedy && h('span', { class: 'fix', text: c.remedy }), meter);
  }

  function causes() {
    const box = byId('causes');
    if (!fleet.causes.length) return;
    box.hidden = false;
    const most = fleet.causes[0].hosts.length;
    box.append(h('h2', { text: 'Causes' }), ...fleet.causes.map((c, i) => cause(c, i, most)));
    const more = fleet.causes.length - CAUSES_SHOWN;
    if (more > 0) {
      const all = h('button', { class: 'ghost more', type: 'button', text: more + ' more', onclick: () => {
        box.querySelectorAll('.cause').forEach((b) => { b.hidden = false; });
        all.remove();
      } });
      box.append(all);
    }
  }

  function damaged() {
    if (!fleet.damaged.length) return;
    byId('damaged').hidden = false;
    byId('damaged').append(h('h2', { text: 'Files that can’t be read' }),
      ...fleet.damaged.map((d) => h('p', {}, h('b', { text: d.file }), ': ' + d.reason)));
  }

  function groups() {
    const all = [...new Set(fleet.devices.flatMap((d) => d.groups))].sort(names.compare);
    byId('group').hidden = all.length === 0;
    byId('group').append(h('option', { value: '', text: 'All groups' }), ...all.map((g) => h('option', { value: g, text: g })));
  }

  // --- a row ---

  /** The steps as one bar: a single element, however many devices there are. */
  function paint(strip, device) {
    const steps = last(device).steps;
    const known = [...STEPS, ...steps.map((s) => s.name).filter((n) => !STEPS.includes(n))];
    const state = Object.fromEntries(steps.map((s) => [s.name, s.status === 'failed' && device.fate === 'back' ? 'back' : s.status]));
    const width = 100 / known.length;
    const stops = known.flatMap((name, i) => {
      const colour = 'var(' + (COLOURS[state[name]] || '--track') + ')';
      const end = (i + 1) * width;
      return [colour + ' ' + i * width + '%', colour + ' calc(' + end + '% - 2px)', 'transparent calc(' + end + '% - 2px)', 'transparent ' + end + '%'];
    });
    strip.style.background = 'linear-gradient(90deg,' + stops.join(',') + ')';
    const done = steps.filter((s) => s.status === 'converged').length;
    strip.setAttribute('aria-label', done + ' of ' + known.length + ' steps done');
  }

  function build(item) {
    const { device } = item;
    const facts = device.facts;
    const about = [facts.device_type, [facts.os_id, facts.os_version].filter(Boolean).join(' ')].filter(Boolean).join(' · ');
    const strip = h('span', { class: 'strip', role: 'img' });
    paint(strip, device);
    item.row = h('button', { class: 'row', type: 'button', 'aria-expanded': 'false', onclick: () => open(item) },
      h('span', { class: 'fate', text: device.fate }),
      h('span', { class: 'who' }, h('b', { text: device.host }), h('small', { text: about }), h('span', { class: 'why', text: device.reason })),
      strip, h('span', { class: 'took', text: item.seconds ? duration(item.seconds) : '' }));
    item.element = h('li', { class: 'device', 'data-fate': device.fate }, item.row);
  }

  // --- what is behind a row, made when it is opened ---

  function open(item) {
    const shut = item.row.getAttribute('aria-expanded') === 'true';
    item.row.setAttribute('aria-expanded', String(!shut));
    if (!item.panel) {
      item.panel = detail(item.device);
      item.element.append(item.panel);
    }
    item.panel.hidden = shut;
  }

  function detail(device) {
    const attempt = last(device);
    const kind = attempt.check ? 'dry run' : attempt.rehearsal ? 'rehearsal' : 'run';
    return h('div', { class: 'detail' },
      h('p', { class: 'since' }, h('span', { class: 'fate', text: device.fate }), ' since ' + clock(device.since) + ', ' + ago(device.since) +
        '. Last ' + kind + ': ' + clock(attempt.started) + '.'),
      h('section', { 'aria-label': 'Steps' }, h('h2', { text: 'Steps' }), timeline(attempt.steps)),
      attempt.outcome && h('section', { 'aria-label': 'Migration' }, h('h2', { text: 'In the migration' }), phases(attempt.outcome)),
      h('section', { 'aria-label': 'Device' }, h('h2', { text: 'Device' }), factList(device)),
      earlier(device));
  }

  /** Durations on one scale, each beginning where the one before ended; waiting for other devices is left out. */
  function timeline(steps) {
    const total = Math.max(steps.reduce((sum, s) => sum + s.seconds, 0), 0.001);
    let at = 0;
    return h('ol', { class: 'steps' }, ...steps.map((s) => {
      const bar = h('i');
      bar.style.left = Math.min(99, 100 * at / total) + '%';
      bar.style.width = s.status === 'running' ? '100%' : (100 * s.seconds / total) + '%';
      at += s.seconds;
      const status = s.status === 'converged' ? (s.changed ? 'done' : 'ok') : s.status;
      return h('li', {}, h('div', { class: 'step', 'data-status': s.status, title: s.started }, h('span', { text: s.name }),
        h('span', { class: 'track' }, bar), h('span', { class: 'muted', text: s.status === 'running' ? '' : duration(s.seconds) }),
        h('span', { class: 'status', text: status })), ...cards(s));
    }));
  }

  function cards(s) {
    const made = s.blocked.map((b) => h('div', { class: 'card', 'data-status': 'blocked' }, h('b', { text: b.check }),
      h('dl', {}, h('dt', { text: 'found' }), h('dd', { text: b.got }), h('dt', { text: 'expected' }), h('dd', { text: b.want }),
        h('dt', { text: 'remedy' }), h('dd', { class: 'remedy', text: b.remedy }))));
    if (s.error) {
      made.push(h('div', { class: 'card', 'data-status': s.status }, h('b', { text: s.error.message }),
        s.error.hint && h('dl', {}, h('dt', { text: 'remedy' }), h('dd', { class: 'remedy', text: s.error.hint }))));
    } else if (s.evidence) made.push(h('p', { class: 'muted', text: s.evidence }));
    if (s.status === 'running') made.push(h('p', { class: 'muted', text: 'Begun ' + clock(s.started) + ', ' + ago(s.started) + '.' }));
    if (s.warnings.length) {
      made.push(h('details', {}, h('summary', { text: s.warnings.length + (s.warnings.length === 1 ? ' warning' : ' warnings') }),
        h('ul', {}, ...s.warnings.map((w) => h('li', { text: w })))));
    }
    return made;
  }

  function phases(outcome) {
    const bad = outcome.verdict === 'aborted' || outcome.verdict === 'started' || outcome.verdict === 'stranded';
    return timeline(outcome.phases.map((p) => ({
      name: p.name, seconds: p.seconds, started: '', changed: true, blocked: [], warnings: [],
      status: bad && p.name === outcome.phase ? 'failed' : 'converged',
      error: bad && p.name === outcome.phase && outcome.reason ? { message: outcome.reason, hint: '' } : undefined,
    })));
  }

  function factList(device) {
    const f = device.facts;
    const rows = [
      ['address', device.address], ['groups', device.groups.join(', ')], ['own name', f.hostname], ['system', f.os],
      ['kernel', [f.kernel, f.arch].filter(Boolean).join(', ')], ['boot', [f.firmware, f.boot_method].filter(Boolean).join(', ')],
      ['device type', f.device_type], ['disk', [f.disk, bytes(f.disk_bytes), f.disk_model].filter(Boolean).join(', ')],
      ['write speed', f.write_kb_s ? bytes(f.write_kb_s * 1024) + '/s' : ''],
      ['memory', bytes(f.memory_bytes) + (f.memory_need_bytes ? ', ' + bytes(f.memory_need_bytes) + ' needed' : '')],
      ['image', [f.image_version, bytes(f.image_bytes), f.image_sha256.slice(0, 12)].filter(Boolean).join(', ')], ['in balena', device.device_id],
    ];
    return h('dl', { class: 'facts' }, ...rows.filter((r) => r[1]).map((r) => h('div', {}, h('dt', { text: r[0] }), h('dd', { text: r[1] }))));
  }

  function earlier(device) {
    const old = device.attempts.slice(0, -1).reverse();
    if (!old.length) return null;
    const n = old.length + device.attempts_dropped;
    return h('details', {}, h('summary', { text: n + (n === 1 ? ' earlier run' : ' earlier runs') }),
      h('ul', {}, ...old.map((a) => h('li', { 'data-fate': a.fate }, clock(a.started) + (a.check ? ', dry run: ' : ': '),
        h('span', { class: 'fate', text: a.fate }), a.reason && ' – ' + a.reason))));
  }

  // --- what is shown ---

  let shown = [];

  function fits(item, words, members) {
    return (!view.states.size || view.states.has(item.device.fate)) && (!view.group || item.device.groups.includes(view.group)) &&
      (!members || members.has(item.device.host)) && words.every((w) => item.text.includes(w));
  }

  function show() {
    const words = view.words.toLowerCase().split(/\s+/).filter(Boolean);
    const members = view.cause >= 0 ? new Set(fleet.causes[view.cause].hosts) : null;
    shown = items.filter((item) => fits(item, words, members)); // items are in order
    const seen = new Set(shown);
    for (const item of items) if (item.element.hidden === seen.has(item)) item.element.hidden = !item.element.hidden;
    const filtered = view.states.size > 0 || words.length > 0 || view.group !== '' || view.cause >= 0;
    byId('shown').textContent = filtered ? number.format(shown.length) + ' of ' + devices(items.length) : devices(items.length);
    byId('clear').hidden = !filtered;
    byId('none').hidden = shown.length > 0 || !items.length;
    byId('devices').classList.toggle('empty', shown.length === 0);
    document.querySelectorAll('.tile').forEach((t) => t.setAttribute('aria-pressed', String(view.states.has(t.dataset.fate))));
    document.querySelectorAll('.cause').forEach((c, i) => c.setAttribute('aria-pressed', String(i === view.cause)));
    remember();
  }

  function arrange() {
    items.sort(orders[view.sort]);
    byId('devices').append(...items.map((item) => item.element));
  }

  /** The view is in the address, so that it survives a reload and can be passed on. */
  function remember() {
    const said = new URLSearchParams();
    if (view.words) said.set('q', view.words);
    if (view.states.size) said.set('state', [...view.states].join(','));
    if (view.group) said.set('group', view.group);
    if (view.sort !== 'need') said.set('sort', view.sort);
    if (view.cause >= 0) said.set('cause', view.cause);
    try { history.replaceState(null, '', said.toString() ? '#' + said : location.pathname + location.search); } catch { /* some viewers forbid it */ }
  }

  function recall() {
    const said = new URLSearchParams(location.hash.slice(1));
    view.words = said.get('q') || '';
    view.states = new Set((said.get('state') || '').split(',').filter((f) => f in FATES));
    view.group = [...byId('group').options].some((o) => o.value === said.get('group')) ? said.get('group') : '';
    view.sort = Object.hasOwn(orders, said.get('sort') || '') ? said.get('sort') : 'need';
    view.cause = said.has('cause') && fleet.causes[+said.get('cause')] ? +said.get('cause') : -1;
    byId('search').value = view.words;
    byId('group').value = view.group;
    byId('sort').value = view.sort;
  }

  function toggle(fate) {
    if (!view.states.delete(fate)) view.states.add(fate);
    show();
  }

  function pick(i) {
    view.cause = view.cause === i ? -1 : i;
    show();
    if (view.cause >= 0) document.querySelector('.tools').scrollIntoView({ block: 'nearest' });
  }

  function clear() {
    Object.assign(view, { states: new Set(), words: '', group: '', cause: -1 });
    byId('search').value = '';
    byId('group').value = '';
    show();
  }

  // --- keys, theme ---

  function keys(event) {
    const typing = event.target.matches('input, select');
    if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      byId('search').focus();
      byId('search').select();
    } else if (event.key === 'Escape' && event.target === byId('search') && view.words) {
      byId('search').value = view.words = '';
      show();
    } else if (event.key === 'ArrowDown' && event.target === byId('search') && shown.length) {
      event.preventDefault();
      shown[0].row.focus();
    } else if (event.target.classList.contains('row')) walk(event);
  }

  function walk(event) {
    const at = shown.findIndex((item) => item.row === event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0) byId('search').focus();
    else if (to < shown.length) shown[to].row.focus();
  }

  const themes = { '': 'Auto', light: 'Light', dark: 'Dark' };

  function theme(name) {
    const known = name in themes ? name : '';
    if (known) document.documentElement.dataset.theme = known;
    else delete document.documentElement.dataset.theme;
    byId('theme').textContent = '◐ ' + themes[known];
    byId('theme').setAttribute('aria-label', 'Theme: ' + themes[known]);
    try { localStorage.setItem('balena-migrate-theme', known); } catch { /* forbidden or full: then it lasts until a reload */ }
  }

  function stored() {
    try { return localStorage.getItem('balena-migrate-theme') || ''; } catch { return ''; }
  }

  function next() {
    const all = Object.keys(themes);
    theme(all[(all.indexOf(document.documentElement.dataset.theme || '') + 1) % all.length]);
  }

  theme(stored());
  head();
  causes();
  damaged();
  groups();
  items.forEach(build);
  recall();
  arrange();
  show();
  byId('theme').addEventListener('click', next);
  byId('search').addEventListener('input', (e) => { view.words = e.target.value; show(); });
  byId('group').addEventListener('change', (e) => { view.group = e.target.value; show(); });
  byId('sort').addEventListener('change', (e) => { view.sort = e.target.value; arrange(); show(); });
  byId('clear').addEventListener('click', clear);
  byId('none').querySelector('button').addEventListener('click', clear);
  document.addEventListener('keydown', keys);
  window.addEventListener('hashchange', () => { recall(); arrange(); show(); });
  performance.mark('interactive');
})();
