//! Tablespaces that dumps speak of: a server of a drill makes them elsewhere.
//!
//! On purpose not here: making them.

/// How the line of a tablespace begins, as `pg_dumpall` writes it.
const MAKES: &str = "CREATE TABLESPACE ";

/// Names of the tablespaces that statements about a whole cluster make.
pub(super) fn spaces(globals: &str) -> Vec<String> {
    globals.lines().filter_map(|line| name(line.strip_prefix(MAKES)?)).collect()
}

/// The name at the beginning of a text, without its quotes.
fn name(text: &str) -> Option<String> {
    let Some(inside) = text.strip_prefix('"') else {
        return text.split(' ').next().filter(|name| !name.is_empty()).map(str::to_owned);
    };
    let (mut name, mut letters) = (String::new(), inside.chars().peekable());
    loop {
        match letters.next()? {
            '"' if letters.peek() == Some(&'"') => name.extend(letters.next()),
            '"' => return Some(name),
            letter => name.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tablespaces_are_named() {
        let text = "CREATE ROLE x;\nCREATE TABLESPACE fast OWNER x LOCATION '/srv/fast';\n\
                    CREATE TABLESPACE \"My \"\"Space\" OWNER \"y\" LOCATION '/srv/o''s';\nGRANT ALL ON TABLESPACE fast TO x;\n\
                    CREATE TABLESPACE \"open\n";
        assert_eq!(spaces(text), ["fast", "My \"Space"]);
    }
}
