//! The options about databases of a cluster, of `backup` and of `restore`.

use clap::Args;

/// What is backed up of a cluster, and recorded beside it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Of a cluster of PostgreSQL")]
pub(crate) struct Databases {
    /// Dump its databases, each with pg_dump, and its roles; not its files. The database in the URL alone,
    /// or those of --database, or all that take connections and are no templates
    #[arg(long)]
    pub(crate) logical: bool,
    /// Dump this database alone; may be given several times
    #[arg(long, value_name = "NAME", requires = "logical")]
    pub(crate) database: Vec<String>,
    /// Record how many rows a table has, so that a restored copy can be compared; may be given several
    /// times. After 60 seconds an estimate has to do
    #[arg(long, value_name = "[DATABASE.]SCHEMA.TABLE")]
    pub(crate) count_rows: Vec<String>,
}

/// How dumps of databases are restored into a server.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Of dumps, into a server of PostgreSQL")]
pub(crate) struct LoadDumps {
    /// Restore this database alone; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Vec<String>,
    /// First make the roles and tablespaces of globals.sql; roles that are there already are set to what was
    /// backed up, their passwords too
    #[arg(long)]
    pub(crate) globals: bool,
}
