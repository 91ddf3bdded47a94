//! A glob for one path component: `*`, `?`, `[…]`, `\` before a sign that stands for itself.
//!
//! It works on bytes, because names are bytes; `?` and classes take a whole character where the
//! name is UTF-8. On purpose not here: separators.

/// A parsed component.
#[derive(Debug, Clone)]
pub(super) enum Glob {
    /// Only this name.
    Literal(Vec<u8>),
    /// `*` and an ending, by far the most frequent of all globs.
    Ending(Vec<u8>),
    /// Anything else.
    Tokens(Vec<Token>),
}

/// One sign of a glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Byte(u8),
    AnyOne,
    AnyRun,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Parses a component; `None` if a bracket or an escape is left open.
    pub(super) fn parse(component: &[u8]) -> Option<Self> {
        let tokens = parse_tokens(component)?;
        Some(match tokens.split_first() {
            Some((Token::AnyRun, rest)) => literal(rest).map_or(Self::Tokens(tokens.clone()), Self::Ending),
            _ => literal(&tokens).map_or(Self::Tokens(tokens.clone()), Self::Literal),
        })
    }

    /// Whether a name matches.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => name == &literal[..],
            Self::Ending(ending) => name.ends_with(ending),
            Self::Tokens(tokens) => run_matches(tokens, name),
        }
    }
}

fn literal(tokens: &[Token]) -> Option<Vec<u8>> {
    let byte = |token: &Token| if let Token::Byte(byte) = token { Some(*byte) } else { None };
    tokens.iter().map(byte).collect()
}

fn parse_tokens(component: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = component;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'*' if tokens.last() == Some(&Token::AnyRun) => {}
            b'*' => tokens.push(Token::AnyRun),
            b'?' => tokens.push(Token::AnyOne),
            b'[' => {
                let (class, after) = parse_class(rest)?;
                tokens.push(class);
                rest = after;
            }
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                tokens.push(Token::Byte(escaped));
                rest = after;
            }
            byte => tokens.push(Token::Byte(byte)),
        }
    }
    Some(tokens)
}

/// Parses what follows an opening bracket.
fn parse_class(after: &[u8]) -> Option<(Token, &[u8])> {
    let negated = matches!(after.first(), Some(b'^' | b'!'));
    let mut rest = &after[usize::from(negated)..];
    let mut ranges = Vec::new();
    loop {
        // A closing bracket that comes first stands for itself.
        if rest.first() == Some(&b']') && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, &rest[1..]));
        }
        let (low, after) = class_sign(rest)?;
        let is_range = after.first() == Some(&b'-') && after.get(1).is_some_and(|&byte| byte != b']');
        let (high, after) = if is_range { class_sign(&after[1..])? } else { (low, after) };
        ranges.push((low, high));
        rest = after;
    }
}

fn class_sign(rest: &[u8]) -> Option<(char, &[u8])> {
    let rest = if rest.first() == Some(&b'\\') { &rest[1..] } else { rest };
    (!rest.is_empty()).then(|| first_sign(rest))
}

/// The first character, or the first byte where the name is not UTF-8, and the rest.
fn first_sign(name: &[u8]) -> (char, &[u8]) {
    let whole = (1..=name.len().min(4)).find_map(|length| std::str::from_utf8(&name[..length]).ok());
    match whole.and_then(|text| text.chars().next()) {
        Some(sign) => (sign, &name[sign.len_utf8()..]),
        None => (char::from(name[0]), &name[1..]),
    }
}

/// Matches with one point to go back to: the last run, which may take one byte more.
fn run_matches(tokens: &[Token], name: &[u8]) -> bool {
    let (mut at, mut rest) = (0, name);
    let mut again: Option<(usize, &[u8])> = None;
    loop {
        if tokens.get(at) == Some(&Token::AnyRun) {
            at += 1;
            again = Some((at, rest));
        } else if at == tokens.len() && rest.is_empty() {
            return true;
        } else if let Some(after) = tokens.get(at).and_then(|token| token_matches(token, rest)) {
            at += 1;
            rest = after;
        } else {
            let Some((back, tried)) = again.filter(|(_, tried)| !tried.is_empty()) else { return false };
            (at, rest) = (back, &tried[1..]);
            again = Some((back, rest));
        }
    }
}

/// What is left of the name after a token took its share.
fn token_matches<'a>(token: &Token, name: &'a [u8]) -> Option<&'a [u8]> {
    let (&first, after) = name.split_first()?;
    match token {
        Token::Byte(byte) => (*byte == first).then_some(after),
        Token::AnyOne => Some(first_sign(name).1),
        Token::Class { negated, ranges } => {
            let (sign, after) = first_sign(name);
            let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&sign));
            (inside != *negated).then_some(after)
        }
        Token::AnyRun => None,
    }
}
