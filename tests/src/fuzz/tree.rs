//! Pages, entries and what lies in them, beneath their seals; records of the stat cache.
//!
//! On purpose not here: whole trees, whose pages are compared with one another by the engine.

use super::assert_same;
use super::objects::{key, split};
use holdfast_core::chunk::PageText;
use holdfast_core::entry::Entry;
use holdfast_core::entry_code::{
    RefTable, decode_alone, decode_xattrs, encode_alone, encode_key, encode_xattrs,
};
use holdfast_core::keys::Identifier;
use holdfast_core::page::{Child, KeySpace, Page, PageBody, TreeBuilder, encode_extent_leaf};
use holdfast_core::wire::Writer;

pub(super) fn identifier() -> Identifier {
    Identifier::new(&key("K_id"), &key("K_cdc"))
}

/// A page: u16 length of the references, references, body.
pub(super) fn page(bytes: &[u8]) {
    let Some((refs, body)) = split(bytes) else { return };
    let Ok(page) = Page::decode(&PageText { refs: refs.to_vec(), body: body.to_vec() }) else { return };
    match &page.body {
        PageBody::Entries(entries) => round_entries(page.space, entries),
        PageBody::Extents { start, extents, blocks } => {
            let again = Page::decode(&encode_extent_leaf(*start, extents, blocks));
            assert_same(&page, &again.expect("what was encoded decodes"));
        }
        PageBody::Children(children) => {
            let again = Page::decode(&encode_children(page.level, page.space, children));
            assert_same(&page, &again.expect("what was encoded decodes"));
        }
    }
}

/// Entries come back through a tree that is made of them.
fn round_entries(space: KeySpace, entries: &[Entry]) {
    let mut leaves = Vec::new();
    let mut builder = TreeBuilder::new(identifier(), space);
    let mut sink = |_, text: PageText| {
        let page = Page::decode(&text).expect("what was encoded decodes");
        if let PageBody::Entries(entries) = page.body {
            leaves.extend(entries);
        }
    };
    entries.iter().for_each(|entry| builder.push(entry, &mut sink));
    builder.finish(&mut sink);
    assert!(leaves == entries, "entries are not the same after a round");
}

fn encode_children(level: u8, space: KeySpace, children: &[Child]) -> PageText {
    let (mut refs, mut body) = (RefTable::default(), Writer::new());
    body.u8(level);
    body.u8(space as u8);
    body.count(children.len());
    let mut before: &[u8] = &[];
    for child in children {
        encode_key(&mut body, before, &child.first_key);
        body.u32(refs.child(child.id));
        body.u64(child.entries);
        body.u64(child.bytes);
        before = &child.first_key;
    }
    body.tags(&[]);
    PageText { refs: refs.take().encode(), body: body.into_vec() }
}

pub(super) fn entry(bytes: &[u8]) {
    let Ok(entry) = decode_alone(bytes) else { return };
    assert_same(&entry, &decode_alone(&encode_alone(&entry)).expect("what was encoded decodes"));
}

pub(super) fn xattrs(bytes: &[u8]) {
    let Ok(pairs) = decode_xattrs(bytes) else { return };
    assert_eq!(encode_xattrs(&pairs), bytes, "attributes have one spelling");
}

pub(super) fn index_copy(bytes: &[u8]) {
    let _ = holdfast_engine::index_copy_is_read(bytes);
}

pub(super) fn cached_record(bytes: &[u8]) {
    let _ = holdfast_engine::cached_record_comes_back(bytes);
}
