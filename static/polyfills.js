// What browsers of the first half of 2020 lack and the pages use; see README.md beside this file for the baseline. Whatever
// else is newer is asked for before it is used.

const define = (prototype, name, value) => {
  if (!(name in prototype)) Object.defineProperty(prototype, name, { value, configurable: true, writable: true });
};

define(Array.prototype, 'at', function (index) {
  return this[index < 0 ? this.length + index : index];
});

define(String.prototype, 'replaceAll', function (from, to) {
  return from instanceof RegExp ? this.replace(from, to) : this.split(from).join(to);
});

for (const each of [Element, Document, DocumentFragment]) {
  define(each.prototype, 'replaceChildren', function (...children) {
    while (this.lastChild) this.lastChild.remove();
    this.append(...children);
  });
}
