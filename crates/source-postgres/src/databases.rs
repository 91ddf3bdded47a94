//! What is in a cluster, as it says itself: its databases, and what is recorded of each.
//!
//! On purpose not here: dumping them; and rows, which are counted in [`crate::rows`].

use crate::error::PgError;
use crate::sql::{Row, Session, quoted};

/// A service that runs the server for its users, and keeps some of it to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Managed {
    Amazon,
    Google,
    Azure,
}

impl Managed {
    const ROLES: [(&'static str, Self); 4] = [
        ("rds_superuser", Self::Amazon),
        ("cloudsqlsuperuser", Self::Google),
        ("alloydbsuperuser", Self::Google),
        ("azure_pg_admin", Self::Azure),
    ];

    /// What people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Amazon => "Amazon RDS",
            Self::Google => "Google Cloud SQL",
            Self::Azure => "Azure Database for PostgreSQL",
        }
    }

    /// Databases that are the service's own.
    const fn own(self) -> &'static [&'static str] {
        match self {
            Self::Amazon => &["rdsadmin"],
            Self::Google => &["cloudsqladmin", "alloydbadmin"],
            Self::Azure => &["azure_maintenance", "azure_sys"],
        }
    }

    /// Recognises it by a role that it makes.
    pub(crate) async fn recognised(session: &mut Session) -> Result<Option<Self>, PgError> {
        let names = Self::ROLES.map(|(name, _)| format!("'{name}'")).join(", ");
        let text = format!("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ({names}) LIMIT 1");
        let found = session.one("name its roles", &text).await?;
        Ok(Self::ROLES.iter().find(|(name, _)| Some(*name) == found.as_deref()).map(|(_, which)| *which))
    }

    /// Whether a database is the service's own.
    pub(crate) fn owns(self, database: &str) -> bool {
        self.own().contains(&database)
    }
}

/// The template that no one can change.
const PRISTINE: &str = "template0";
/// The template that new databases are made from. Every cluster has one, most of them an empty one.
pub(crate) const COMMON: &str = "template1";

/// How many things somebody made in a database: the server's own have numbers below these.
pub(crate) const MADE: &str = "SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class WHERE oid >= 16384 \
    AND relkind IN ('r', 'v', 'm', 'S', 'f', 'p', 'c')) + \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc WHERE oid >= 16384) + \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_type WHERE oid >= 16384 AND typrelid = 0 \
    AND typelem = 0) + \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_namespace WHERE oid >= 16384) + \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_extension WHERE oid >= 16384) + \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata)";

/// A database, as the cluster lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub name: String,
    /// Its length, if that is for us to know.
    pub bytes: Option<u64>,
    /// Who asks may connect to it, as far as its rights say.
    pub is_open: bool,
    /// It takes connections.
    pub is_alive: bool,
    pub is_template: bool,
    pub encoding: String,
    /// Who sorts, how, by which version; and which version there is now.
    pub collation: String,
    /// What the cluster says it was sorted by is not what sorts now.
    pub sorts_differently: bool,
}

/// Lists them, in the order of their names.
pub(crate) async fn list(session: &mut Session, major: u32) -> Result<Vec<Listed>, PgError> {
    let rows = session.rows("list its databases", &statement(major)).await?;
    rows.iter().map(|row| listed(row)).collect()
}

fn statement(major: u32) -> String {
    let actual = if major >= 15 {
        "pg_catalog.pg_database_collation_actual_version(d.oid)"
    } else {
        "(SELECT pg_catalog.pg_collation_actual_version(c.oid) FROM pg_catalog.pg_collation c WHERE c.collprovider = \
         'c' AND c.collcollate = d.datcollate AND c.collname <> 'default' LIMIT 1)"
    };
    let (provider, locale, version) = match major {
        17.. => ("d.datlocprovider", "COALESCE(d.datlocale, d.datcollate)", "d.datcollversion"),
        15 | 16 => ("d.datlocprovider", "COALESCE(d.daticulocale, d.datcollate)", "d.datcollversion"),
        _ => ("'c'", "d.datcollate", "NULL"),
    };
    format!(
        "SELECT d.datname, CASE WHEN o.open OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN \
         pg_catalog.pg_database_size(d.oid) END, o.open, d.datallowconn AND d.datconnlimit <> -2, d.datistemplate, \
         pg_catalog.pg_encoding_to_char(d.encoding), {provider}, {locale}, {version}, {actual} \
         FROM pg_catalog.pg_database d, LATERAL (SELECT pg_catalog.has_database_privilege(d.oid, 'CONNECT') AS open) o \
         ORDER BY d.datname"
    )
}

fn listed(row: &[Option<String>]) -> Result<Listed, PgError> {
    let text = |at: usize| row.get(at).cloned().flatten();
    let is = |at: usize| text(at).as_deref() == Some("t");
    let name =
        text(0).ok_or_else(|| PgError::Refused("a database has a name that is no UTF-8".to_owned()))?;
    let (recorded, actual) = (text(8), text(9));
    let provider = match text(6).as_deref() {
        Some("i") => "icu",
        Some("b") => "builtin",
        _ => "libc",
    };
    let version = recorded.clone().or_else(|| actual.clone());
    let words = [Some(provider.to_owned()), text(7), version];
    let differs = recorded.is_some() && actual.is_some() && recorded != actual;
    let mut collation = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    if let Some(actual) = actual.filter(|_| differs) {
        collation.push_str(&format!(", now {actual}"));
    }
    Ok(Listed {
        bytes: text(1).and_then(|bytes| bytes.parse().ok()),
        is_open: is(2),
        is_alive: is(3),
        is_template: is(4),
        encoding: text(5).unwrap_or_default(),
        collation,
        sorts_differently: differs,
        name,
    })
}

impl Listed {
    /// It can have nothing in it that a new cluster does not have.
    pub(crate) fn is_pristine(&self) -> bool {
        self.is_template && !self.is_alive && self.name == PRISTINE
    }

    /// What is recorded of it without looking into it.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let name = format!("database {}", quoted(&self.name));
        let bytes = self.bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string());
        vec![
            (format!("{name} collation"), self.collation.clone()),
            (format!("{name} encoding"), self.encoding.clone()),
            (name, bytes),
        ]
    }
}

/// Extensions of the database that a session is in, with their versions.
pub(crate) async fn extensions(session: &mut Session) -> Result<Vec<(String, String)>, PgError> {
    let text = "SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY extname";
    let rows = session.rows("list extensions", text).await?;
    let name = format!("database {} extension", quoted(&session.database));
    let fact = |row: Row| {
        let mut row = row.into_iter();
        let (extension, version) = (row.next().flatten()?, row.next().flatten()?);
        Some((format!("{name} {extension}"), version))
    };
    Ok(rows.into_iter().filter_map(fact).collect())
}

/// What of a database a role may not see all of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cover {
    /// Tables with rules for rows, that the role does not bypass; and the first of them.
    pub hidden_rows: Option<(u64, String)>,
    /// Tables with rules for rows, in all.
    pub ruled: u64,
    /// Large objects, and how many of them the role may not read.
    pub large_objects: u64,
    pub closed_objects: u64,
}

/// Looks what of the session's database its role may not see.
pub(crate) async fn cover(session: &mut Session, major: u32) -> Result<Cover, PgError> {
    const RULED: &str = "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE x.hidden), pg_catalog.min(x.name) \
        FILTER (WHERE x.hidden) FROM (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, NOT \
        (r.rolsuper OR r.rolbypassrls) AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')) \
        AS hidden FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
        pg_catalog.pg_roles r WHERE c.relrowsecurity AND r.rolname = CURRENT_USER) x";
    let closed = if major >= 18 {
        "NOT pg_catalog.has_largeobject_privilege(m.oid, 'SELECT')"
    } else {
        "NOT (r.rolsuper OR pg_catalog.current_setting('lo_compat_privileges')::pg_catalog.bool OR \
         pg_catalog.pg_has_role(m.lomowner, 'USAGE') OR EXISTS (SELECT 1 FROM pg_catalog.aclexplode(m.lomacl) a WHERE \
         a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))))"
    };
    let objects = format!(
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {closed}) FROM \
         pg_catalog.pg_largeobject_metadata m, pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER"
    );
    let ruled = first(session.rows("list its rules for rows", RULED).await?);
    let objects = first(session.rows("list its large objects", &objects).await?);
    let number = |row: &Row, at: usize| -> u64 {
        row.get(at).and_then(|text| text.as_ref()?.parse().ok()).unwrap_or_default()
    };
    let hidden = number(&ruled, 1);
    Ok(Cover {
        hidden_rows: (hidden > 0).then(|| (hidden, ruled.get(2).cloned().flatten().unwrap_or_default())),
        ruled: number(&ruled, 0),
        large_objects: number(&objects, 0),
        closed_objects: number(&objects, 1),
    })
}

fn first(rows: Vec<Row>) -> Row {
    rows.into_iter().next().unwrap_or_default()
}

impl Cover {
    /// The same as facts: what is covered, and what is not.
    pub(crate) fn facts(&self, database: &str) -> Vec<(String, String)> {
        let name = format!("database {}", quoted(database));
        let objects = match (self.large_objects, self.closed_objects) {
            (all, 0) => format!("covered {all}"),
            (all, closed) => format!("not covered: {closed} of {all} are not for this role to read"),
        };
        let rules = (self.ruled > 0).then(|| {
            let how = if self.hidden_rows.is_some() { "not covered" } else { "covered" };
            (format!("{name} row level security"), format!("{how} {}", self.ruled))
        });
        [(format!("{name} large objects"), objects)].into_iter().chain(rules).collect()
    }
}

/// Whether the session's database has anything that a new cluster would not have in it: things, rights
/// to its schema, or settings of its own.
pub(crate) async fn is_changed(session: &mut Session) -> Result<bool, PgError> {
    let text = format!(
        "SELECT ({MADE}) + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_default_acl) + (SELECT pg_catalog.count(*) FROM \
         pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase WHERE d.datname = \
         pg_catalog.current_database()) + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_namespace n LEFT JOIN \
         pg_catalog.pg_init_privs p ON p.objoid = n.oid AND p.objsubid = 0 AND p.classoid = \
         'pg_catalog.pg_namespace'::pg_catalog.regclass WHERE n.nspname = 'public' AND n.nspacl IS DISTINCT FROM p.initprivs)"
    );
    let found = session.one("say what is in a database", &text).await?;
    Ok(found.as_deref() != Some("0"))
}

/// What a cluster says of itself beside its databases.
pub(crate) async fn about(session: &mut Session) -> Result<About, PgError> {
    let text = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
    let system = session.known(text).await?;
    let timeline = session.known("SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()").await?;
    let follows =
        session.one("say whether it follows another", "SELECT pg_catalog.pg_is_in_recovery()").await?;
    Ok(About { system, timeline, follows: follows.as_deref() == Some("t") })
}

/// See [`about`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// Who the cluster is; a service may not say.
    pub system: Option<String>,
    pub timeline: Option<String>,
    /// It follows another server.
    pub follows: bool,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_database_says_how_it_sorts() {
        let row = |texts: [&str; 10]| texts.map(|text| Some(text.to_owned()).filter(|text| text != "-"));
        let one = row(["Shop", "42", "t", "t", "f", "UTF8", "c", "ko_KR.UTF-8", "2.36", "2.36"]);
        let one = listed(&one).unwrap();
        assert!(one.is_open && one.is_alive && !one.is_template && !one.sorts_differently);
        let facts = [
            ("database \"Shop\" collation", "libc ko_KR.UTF-8 2.36"),
            ("database \"Shop\" encoding", "UTF8"),
            ("database \"Shop\"", "42"),
        ];
        assert_eq!(one.facts(), facts.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let other = row(["a", "-", "f", "f", "t", "UTF8", "i", "und", "153.14", "153.120"]);
        let other = listed(&other).unwrap();
        assert_eq!((other.bytes, other.sorts_differently), (None, true));
        assert_eq!(other.collation, "icu und 153.14, now 153.120");
    }

    #[test]
    fn what_is_not_covered_is_said() {
        let cover = Cover { large_objects: 5, closed_objects: 3, ruled: 1, hidden_rows: None };
        let facts = cover.facts("shop");
        assert_eq!(facts[0].1, "not covered: 3 of 5 are not for this role to read");
        assert_eq!(facts[1], ("database shop row level security".into(), "covered 1".into()));
        assert!(Managed::Amazon.owns("rdsadmin") && !Managed::Azure.owns("rdsadmin"));
    }
}
