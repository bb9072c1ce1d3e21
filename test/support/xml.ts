/** A reader of XML that takes nothing but what is well-formed: elements, attributes and text, of which pictures are made. */

import assert from 'node:assert/strict';

export interface XmlElement {
  name: string;
  attributes: Record<string, string>;
  children: XmlElement[];
  /** Its own, with that of its children where they stand. */
  text: string;
}

const NAME = '[A-Za-z_][\\w.-]*';
const TOKEN = new RegExp(`<(/?)(${NAME})((?:\\s+${NAME}="[^"<]*")*)\\s*(/?)>|[^<]+`, 'y');
const ATTRIBUTE = new RegExp(`(${NAME})="([^"<]*)"`, 'g');
const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The root element; fails unless `source` is well-formed. */
export function parseXml(source: string): XmlElement {
  // What XML 1.0 2.2 excludes.
  const excluded = source.search(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/);
  assert.equal(excluded, -1, `no character of XML: ${JSON.stringify(source[excluded])}`);
  const top: XmlElement = { name: '', attributes: {}, children: [], text: '' };
  const open = [top];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < source.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(source);
    assert.ok(match, `no XML: ${source.slice(at, at + 80)}`);
    const [whole, isEnd, name, attributes, isEmpty] = match;
    const parent = open.at(-1)!;
    if (name === undefined) {
      const text = decoded(whole);
      for (const element of open) element.text += text;
      assert.ok(open.length > 1 || text.trim() === '', `text outside the root: ${whole}`);
    } else if (isEnd === '/') {
      assert.deepEqual([attributes, isEmpty], ['', ''], whole);
      assert.equal(name, parent.name, `</${name}> ends <${parent.name}>`);
      open.pop();
    } else {
      const element = { name, attributes: attributesOf(attributes!), children: [], text: '' };
      parent.children.push(element);
      if (isEmpty !== '/') open.push(element);
    }
  }
  assert.equal(open.length, 1, `<${open.at(-1)!.name}> has no end`);
  assert.equal(top.children.length, 1, 'one root');
  return top.children[0]!;
}

/** All elements below `element`, and itself, that have this name. */
export function elementsOf(element: XmlElement, name: string): XmlElement[] {
  const below = element.children.flatMap((child) => elementsOf(child, name));
  return element.name === name ? [element, ...below] : below;
}

function attributesOf(source: string): Record<string, string> {
  const attributes: Record<string, string> = {};
  for (const [, name = '', value = ''] of source.matchAll(ATTRIBUTE)) {
    assert.ok(!Object.hasOwn(attributes, name), `${name} twice`);
    attributes[name] = decoded(value);
  }
  return attributes;
}

function decoded(source: string): string {
  return source.replace(/&([^;]*;)?/g, (whole, name: string | undefined) => {
    const character = ENTITIES[name?.slice(0, -1) ?? ''];
    assert.ok(character !== undefined, `no entity: ${whole}`);
    return character;
  });
}
