//! Where the repository and the cache lie, and what paths a person means.
//!
//! On purpose not here: secrets, which have a file of their own, and any access to what lies there
//! (but a file that names the repository is read).

use crate::args::{FromArgs, Global, Pick};
use crate::engine::SnapshotFilter;
use crate::fault::Fault;
use crate::secrets;
use crate::wire_up::{Address, BadNetwork, NO_PROXY, Network, PROXIES, Reach};
use holdfast_core::name::{DOMAINS, is_domain_name};
use holdfast_core::page::KeySpace;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Where a repository lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RepositoryPlace {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(Address),
}

impl RepositoryPlace {
    /// The folder, if it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) => Some(path),
            Self::Bucket(_) => None,
        }
    }

    /// Where a domain of the repository lies.
    pub(crate) fn domain(&self, name: &str) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(path.join(DOMAINS).join(name)),
            Self::Bucket(address) => {
                let prefix = format!("{}{DOMAINS}{name}/", address.prefix);
                Self::Bucket(Address { prefix, ..address.clone() })
            }
        }
    }

    /// Where the repository lies that this would be a domain of, and its name there.
    pub(crate) fn above(&self) -> Option<(Self, String)> {
        let of = |words: &str| {
            let (above, name) = words.rsplit_once('/')?;
            let above = above.strip_suffix(DOMAINS.trim_end_matches('/'))?;
            let whole = above.is_empty() || above.ends_with('/');
            (whole && is_domain_name(name)).then(|| (above.to_owned(), name.to_owned()))
        };
        match self {
            Self::Folder(path) => {
                let (above, name) = of(path.to_str()?)?;
                Some((Self::Folder(PathBuf::from(above.strip_suffix('/')?)), name))
            }
            Self::Bucket(address) => {
                let (prefix, name) = of(address.prefix.strip_suffix('/')?)?;
                Some((Self::Bucket(Address { prefix, ..address.clone() }), name))
            }
        }
    }

    /// How people call it, in bytes that a path may have.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Folder(path) => path.as_os_str().as_bytes().to_vec(),
            Self::Bucket(address) => address.to_string().into_bytes(),
        }
    }
}

impl fmt::Display for RepositoryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket(address) => write!(f, "{address}"),
        }
    }
}

/// Looks up a variable of the environment; an empty one is as good as none.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Finds the place that the run is about: the repository's, or that of a domain of it.
pub(crate) fn repository_place(global: &Global) -> Result<RepositoryPlace, Fault> {
    let above = place_above(global)?;
    Ok(global.domain.as_ref().map_or(above.clone(), |name| above.domain(name)))
}

/// Finds the repository's place, whatever domain is meant: from the options, else from the environment.
pub(crate) fn place_above(global: &Global) -> Result<RepositoryPlace, Fault> {
    let names = ["HOLDFAST_REPOSITORY", "HOLDFAST_REPOSITORY_FILE"];
    place(global.repo.as_ref(), global.repository_file.as_deref(), names, || {
        Fault::usage(
            "no repository given",
            "use -r /path/to/repository or -r s3://bucket/prefix, or set HOLDFAST_REPOSITORY",
        )
    })
}

/// Finds the place of the repository that is copied from: from the options, else from the environment.
pub(crate) fn from_place(from: &FromArgs) -> Result<RepositoryPlace, Fault> {
    let names = ["HOLDFAST_FROM_REPOSITORY", "HOLDFAST_FROM_REPOSITORY_FILE"];
    place(from.from.as_ref(), from.from_repository_file.as_deref(), names, || {
        Fault::usage(
            "no repository given to copy from",
            "use --from /path/to/repository or --from s3://bucket/prefix, or set HOLDFAST_FROM_REPOSITORY",
        )
    })
}

/// Finds a place by its text or by a file with that; where neither is stated, by the variables for the
/// same two.
fn place(
    text: Option<&OsString>,
    file: Option<&Path>,
    names: [&str; 2],
    missing: impl Fn() -> Fault,
) -> Result<RepositoryPlace, Fault> {
    let stated = match (text, file) {
        (Some(text), _) => Some(text.clone()).filter(|text| !text.is_empty()),
        (None, Some(file)) => Some(repository_in(file)?),
        (None, None) => None,
    };
    let text = match (stated, variable(names[0]), variable(names[1])) {
        (Some(text), _, _) | (None, Some(text), None) => text,
        (None, None, Some(file)) => repository_in(Path::new(&file))?,
        (None, Some(_), Some(_)) => {
            let what = format!("{} and {} are both set", names[0], names[1]);
            return Err(Fault::usage(what, "unset the one that is not meant"));
        }
        (None, None, None) => return Err(missing()),
    };
    parse_repository(&text, &current_dir()?)
}

/// Reads the text that names a repository from the first line of a file.
fn repository_in(file: &Path) -> Result<OsString, Fault> {
    let bytes = std::fs::read(file).map_err(|error| {
        let what = format!("cannot read the repository file {}", file.display());
        Fault::usage(what, "check its name and its permissions").because(&error)
    })?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.contains(&0) {
        let what = format!("the repository file {} names no repository in its first line", file.display());
        return Err(Fault::usage(what, "write the path or URL into it"));
    }
    Ok(OsString::from_vec(line.to_vec()))
}

/// Finds how servers are reached: whose certificates are trusted too, and through which proxies.
pub(crate) fn reach(global: &Global) -> Reach {
    let (path, name) = match &global.cacert {
        Some(path) => (Some(path.clone()), "--cacert"),
        None => (variable("AWS_CA_BUNDLE").map(PathBuf::from), "AWS_CA_BUNDLE"),
    };
    Ok(network(path.as_deref(), name)?.with_ambient(secrets::ambient_keys()))
}

/// The file with certificates that are trusted beside the system's.
pub(crate) fn certificates(global: &Global) -> Option<PathBuf> {
    global.cacert.clone().or_else(|| variable("AWS_CA_BUNDLE").map(PathBuf::from))
}

/// Finds how servers are reached whose certificates are in a file; `name` is what named that.
pub(crate) fn network(path: Option<&Path>, name: &str) -> Reach {
    // A proxy that has a password was handed over.
    let proxies = PROXIES.into_iter().chain(NO_PROXY).filter_map(|name| {
        let handed = secrets::value(name).map(|mut value| OsString::from_vec(std::mem::take(&mut *value)));
        Some((name.to_owned(), handed?))
    });
    Network::new(path, proxies).map_err(|error| {
        let hint = "the file holds certificates in PEM; a proxy is http://host:port or https://host:port";
        let what = match error {
            BadNetwork::NoProxy(_) => "servers cannot be reached through the proxy".to_owned(),
            _ => format!("{name} cannot be used"),
        };
        Fault::usage(what, hint).because(&error)
    })
}

/// Finds the cache's folder; none if none is wanted or there is no place for one.
pub(crate) fn cache_dir(global: &Global) -> Result<Option<PathBuf>, Fault> {
    if global.no_cache {
        return Ok(None);
    }
    let stated = global.cache_dir.clone().or_else(|| variable("HOLDFAST_CACHE_DIR").map(PathBuf::from));
    let home = || variable("HOME").map(|home| Path::new(&home).join(".cache"));
    // The XDG rules say that a relative path there is to be passed over.
    let xdg = || variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = || xdg().or_else(home).map(|path| path.join("holdfast"));
    let current = current_dir()?;
    Ok(stated.or_else(usual).map(|path| normalise(&path, &current)))
}

/// Returns the folder that relative paths start from.
pub(crate) fn current_dir() -> Result<PathBuf, Fault> {
    std::env::current_dir().map_err(|error| {
        Fault::failed("cannot tell the current folder", "change into a folder that exists").because(&error)
    })
}

/// Reads the text that names a repository.
pub(crate) fn parse_repository(text: &OsStr, current: &Path) -> Result<RepositoryPlace, Fault> {
    refuse_password(text)?;
    if let Some(rest) = text.as_bytes().strip_prefix(b"file://") {
        return file_url_path(rest).map(RepositoryPlace::Folder);
    }
    if text.as_bytes().starts_with(b"s3://") {
        return Address::parse(&text.to_string_lossy()).map(RepositoryPlace::Bucket).map_err(|error| {
            let hint =
                "write s3://bucket/prefix, and ?endpoint=https://host:port for a server that is not AWS";
            Fault::usage(format!("{} is no repository", text.display()), hint).because(&error)
        });
    }
    match scheme_of(text) {
        Some(scheme) => Err(not_in_this_version("repositories", &scheme)),
        None => Ok(RepositoryPlace::Folder(normalise(Path::new(text), current))),
    }
}

fn file_url_path(rest: &[u8]) -> Result<PathBuf, Fault> {
    let rest = rest.strip_prefix(b"localhost").filter(|rest| rest.starts_with(b"/")).unwrap_or(rest);
    let path = percent_decoded(rest).filter(|path| path.starts_with(b"/") && !path.contains(&0));
    let path = path.map(|path| PathBuf::from(OsString::from_vec(path)));
    path.map(|path| normalise(&path, Path::new("/"))).ok_or_else(|| {
        Fault::usage("a file URL has three slashes and an absolute path", "write file:///path or just /path")
    })
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

/// Refuses a URL with a password in it: it can be seen by all who list the processes.
pub(crate) fn refuse_password(text: &OsStr) -> Result<(), Fault> {
    let bytes = text.as_bytes();
    let Some(start) = bytes.windows(3).position(|window| window == b"://") else { return Ok(()) };
    // An option of the URL may be a URL itself.
    let mut authorities =
        (start..bytes.len()).filter(|&at| bytes[at..].starts_with(b"://")).map(|at| &bytes[at + 3..]);
    if is_scheme(&bytes[..start]) && (authorities.any(has_password) || query_has_secret(bytes)) {
        let hint = "leave it out; give it in a file or in the environment";
        return Err(Fault::usage("there is a password in the URL, where everybody can see it", hint));
    }
    Ok(())
}

fn has_password(authority: &[u8]) -> bool {
    let end = authority.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(authority.len());
    let (authority, rest) = authority.split_at(end);
    if let Some(at) = authority.iter().rposition(|&byte| byte == b'@') {
        return authority[..at].contains(&b':');
    }
    // A password may hold a slash that should have been escaped: what follows the colon is no port then.
    let port = authority.iter().position(|&byte| byte == b':').map(|at| &authority[at + 1..]);
    port.is_some_and(|port| !port.iter().all(u8::is_ascii_digit)) && rest.contains(&b'@')
}

fn query_has_secret(rest: &[u8]) -> bool {
    let text = String::from_utf8_lossy(rest).to_ascii_lowercase();
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let names = query.split(['&', ';', '#']).filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
    let mut secrets =
        names.filter(|name| ["password", "secret", "sslpassword"].iter().any(|word| name.contains(word)));
    secrets.next().is_some()
}

/// Refuses a source that only a later version can read.
pub(crate) fn refuse_url_source(text: &OsStr) -> Result<(), Fault> {
    refuse_password(text)?;
    let scheme = text.as_bytes().windows(3).any(|window| window == b"://").then(|| scheme_of(text)).flatten();
    scheme.map_or(Ok(()), |scheme| Err(not_in_this_version("sources", &scheme)))
}

fn not_in_this_version(what: &str, scheme: &str) -> Fault {
    let message = format!("{what} at {scheme}: URLs are not in this version");
    Fault::usage(message, "use a path of this host; write ./NAME for a path that looks like a URL")
}

/// The scheme of a URL, and of the short forms that restic has (`s3:host/bucket`).
fn scheme_of(text: &OsStr) -> Option<String> {
    const SHORT: [&[u8]; 10] =
        [b"s3", b"sftp", b"rest", b"b2", b"gs", b"azure", b"swift", b"rclone", b"opendal", b"file"];
    let colon = text.as_bytes().iter().position(|&byte| byte == b':')?;
    let (scheme, rest) = text.as_bytes().split_at(colon);
    let is_url = is_scheme(scheme) && rest.starts_with(b"://");
    (is_url || SHORT.contains(&scheme)).then(|| String::from_utf8_lossy(scheme).into_owned())
}

fn is_scheme(text: &[u8]) -> bool {
    let rest_ok = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(rest_ok)
}

/// Makes a path absolute and takes out `.`, `..` and repeated slashes, without looking at the
/// disk: what a link points to is not asked.
pub(crate) fn normalise(path: &Path, current: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in current.join(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => drop(out.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Finds the path that a person means by a source: `link/` means what the link points to.
pub(crate) fn source_path(text: &OsStr, current: &Path) -> Result<PathBuf, Fault> {
    refuse_url_source(text)?;
    if text.is_empty() {
        return Err(Fault::usage("a path to back up is empty", "is a variable of your script not set?"));
    }
    let path = normalise(Path::new(text), current);
    let follows = text.as_bytes().ends_with(b"/") && path.is_symlink();
    if !follows {
        return Ok(path);
    }
    path.canonicalize().map_err(|error| {
        Fault::failed(
            format!("cannot follow the link {}", path.display()),
            "leave the slash out to back up the link itself",
        )
        .because(&error)
    })
}

/// Splits `SNAPSHOT[:PATH]`. What the path means depends on the snapshot, as [`path_in`] says; the
/// whole snapshot is the empty one.
pub(crate) fn snapshot_and_path(text: &OsStr) -> Result<(String, Vec<u8>), Fault> {
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|&byte| byte == b':');
    let (snapshot, path) = colon.map_or((bytes, &b""[..]), |at| (&bytes[..at], &bytes[at + 1..]));
    let snapshot = std::str::from_utf8(snapshot).ok().filter(|snapshot| !snapshot.is_empty());
    let Some(snapshot) = snapshot else {
        return Err(Fault::usage(
            "no snapshot given",
            "write latest, latest:/path, or an id of `holdfast snapshots`",
        ));
    };
    let path = if matches!(path, b"/" | b"." | b"./") { &[] } else { path };
    Ok((snapshot.to_owned(), path.to_vec()))
}

/// A path of a snapshot: of files plain and absolute, of a bucket as it stands, where all is name.
pub(crate) fn path_in(space: KeySpace, path: &[u8]) -> Vec<u8> {
    if path.is_empty() || space == KeySpace::Opaque {
        return path.to_vec();
    }
    let path = normalise(Path::new(OsStr::from_bytes(path)), Path::new("/")).into_os_string().into_vec();
    if path == b"/" { Vec::new() } else { path }
}

/// Makes the engine's filter of what a person picks.
pub(crate) fn filter_of(pick: &Pick) -> SnapshotFilter {
    SnapshotFilter {
        hosts: pick.host.clone(),
        tags: pick.tag.iter().map(|tags| split_tags(std::slice::from_ref(tags))).collect(),
        paths: Vec::new(),
        source: pick.source.clone(),
    }
}

/// Splits tags at commas, and puts them in order, each once.
pub(crate) fn split_tags(texts: &[String]) -> Vec<String> {
    let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|tag| !tag.is_empty());
    let mut tags: Vec<String> = words.map(str::to_owned).collect();
    tags.sort();
    tags.dedup();
    tags
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
