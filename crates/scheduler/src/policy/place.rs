//! Where the repositories of a policy are and what opens them for an activity; and paths, which count
//! from the policy's file.
//!
//! On purpose not here: reading secrets, and looking at what lies at a path.

use super::secret::{Credentials, KeyRef, Keys, SecretRef};
use super::{Files, Notify, Policy, Severity, Source};
use crate::hands::{Opens, Place};
use std::path::{Path, PathBuf};

/// What the repository is called beside the names of copies.
pub const REPOSITORY: &str = "repository";

/// What is done with a repository; each may have a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Backs up, and takes in what is copied.
    Backup,
    /// Forgets, prunes and checks.
    Maintain,
    /// Is copied from, restored and drilled.
    Read,
}

impl Policy {
    /// The repository or a copy by its name, with what opens it for an activity; none if there is no
    /// such place, or no key for that here.
    #[must_use]
    pub fn place(&self, name: &str, activity: Activity) -> Option<Place> {
        if name == REPOSITORY {
            let own = &self.repository;
            return place(name, &own.url, (&own.password, &own.keys), &own.credentials, activity);
        }
        let copy = self.copies.iter().find(|copy| copy.name == name)?;
        place(name, &copy.url, (&copy.password, &copy.keys), &copy.credentials, activity)
    }

    /// The names of all its places, the repository first.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        std::iter::once(REPOSITORY).chain(self.copies.iter().map(|copy| &*copy.name))
    }

    /// The name of one of its sources in repositories.
    #[must_use]
    pub fn label(&self, source: &str) -> String {
        format!("{}/{source}", self.name)
    }

    /// Makes all paths absolute: what is relative counts from the folder of the policy's file, `~/` from
    /// the home of whoever runs it.
    pub fn settle(&mut self, folder: &Path, home: Option<&Path>) {
        let from = From { folder, home };
        let own = &mut self.repository;
        from.place(&mut own.url, &mut own.password, &mut own.keys, &mut own.credentials);
        for copy in &mut self.copies {
            from.place(&mut copy.url, &mut copy.password, &mut copy.keys, &mut copy.credentials);
        }
        self.sources.0.iter_mut().for_each(|(_, source)| from.source(source));
        if let Some(drill) = &mut self.drill {
            drill.scratch.path.iter_mut().for_each(|path| from.path(path));
            drill.scratch.bucket.iter_mut().for_each(|bucket| from.credentials(&mut bucket.credentials));
        }
        for notify in &mut self.notify {
            notify.written = Some(notify.as_written());
            notify.slack.iter_mut().for_each(|slack| from.secret(&mut slack.webhook));
            notify.webhook.iter_mut().for_each(|webhook| {
                from.secret(&mut webhook.url);
                from.secret(&mut webhook.secret);
            });
            let passwords = notify.mail.iter_mut().filter_map(|mail| mail.password.as_mut());
            passwords.for_each(|password| from.secret(password));
        }
        self.heartbeat.iter_mut().for_each(|heartbeat| from.secret(&mut heartbeat.url));
    }
}

impl Notify {
    /// The entry as the file has it. From whatever severity on it is told, it is the same.
    #[must_use]
    pub fn as_written(&self) -> String {
        let plain = || {
            let way = Self { from: Severity::default(), ..self.clone() };
            serde_json::to_string(&way).unwrap_or_default()
        };
        self.written.clone().unwrap_or_else(plain)
    }
}

impl Place {
    /// Its URL, with the profile that opens its bucket.
    #[must_use]
    pub fn address(&self) -> String {
        with_profile(&self.url, self.credentials.as_ref())
    }
}

/// A bucket's URL with the profile that opens it, if it is one and has none yet.
#[must_use]
pub fn with_profile(url: &str, credentials: Option<&Credentials>) -> String {
    let Some(Credentials::Profile(profile)) = credentials else { return url.to_owned() };
    let (_, options) = url.split_once('?').unwrap_or((url, ""));
    if !url.starts_with("s3://") || options.split('&').any(|option| option.starts_with("profile=")) {
        return url.to_owned();
    }
    let sign = match (options.is_empty(), url.ends_with('?')) {
        (true, true) => "",
        (true, false) => "?",
        (false, _) => "&",
    };
    format!("{url}{sign}profile={profile}")
}

fn place(
    name: &str,
    url: &str,
    (password, keys): (&Option<SecretRef>, &Option<Keys>),
    credentials: &Option<Credentials>,
    activity: Activity,
) -> Option<Place> {
    let key = keys.as_ref().and_then(|keys| match activity {
        Activity::Backup => keys.backup.clone(),
        Activity::Maintain => keys.maintain.clone(),
        Activity::Read => keys.read.clone(),
    });
    let opens = key.map(Opens::Key).or_else(|| password.clone().map(Opens::Password))?;
    Some(Place { name: name.to_owned(), url: url.to_owned(), opens, credentials: credentials.clone() })
}

/// Where paths count from.
struct From<'a> {
    folder: &'a Path,
    home: Option<&'a Path>,
}

impl From<'_> {
    fn path(&self, path: &mut PathBuf) {
        *path = match (path.strip_prefix("~"), self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => self.folder.join(&*path),
        };
    }

    /// A path as text; what cannot be text stays as it is.
    fn text(&self, text: &mut String) {
        let mut path = PathBuf::from(&*text);
        self.path(&mut path);
        if let Some(path) = path.to_str() {
            path.clone_into(text);
        }
    }

    /// A URL is one whatever folder it is written in.
    fn url(&self, url: &mut String) {
        if !url.contains("://") {
            self.text(url);
        }
    }

    fn secret(&self, secret: &mut SecretRef) {
        if let SecretRef::File(path) = secret {
            self.path(path);
        }
    }

    fn credentials(&self, credentials: &mut Option<Credentials>) {
        if let Some(Credentials::AccessKey(key)) = credentials {
            self.secret(&mut key.secret);
        }
    }

    fn place(
        &self,
        url: &mut String,
        password: &mut Option<SecretRef>,
        keys: &mut Option<Keys>,
        credentials: &mut Option<Credentials>,
    ) {
        self.url(url);
        password.iter_mut().for_each(|password| self.secret(password));
        if let Some(keys) = keys {
            for key in [&mut keys.backup, &mut keys.maintain, &mut keys.read] {
                match key {
                    Some(KeyRef::File(path)) => self.path(path),
                    Some(KeyRef::Transit(sealed)) => sealed.file.iter_mut().for_each(|file| self.path(file)),
                    _ => {}
                }
            }
        }
        self.credentials(credentials);
    }

    fn source(&self, source: &mut Source) {
        if let Some(Files { paths, .. }) = &mut source.files {
            paths.iter_mut().for_each(|path| self.path(path));
        }
        if let Some(postgres) = &mut source.postgres {
            postgres.passfile.iter_mut().chain(&mut postgres.bin_dirs).for_each(|path| self.path(path));
        }
        source.s3.iter_mut().for_each(|bucket| self.credentials(&mut bucket.credentials));
        let bin_dirs = source.restored_by.iter_mut().flat_map(|by| &mut by.bin_dirs);
        bin_dirs.for_each(|path| self.path(path));
        let unreadable = source.accept.iter_mut().flat_map(|accept| &mut accept.unreadable);
        unreadable.for_each(|path| self.text(path));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const TEXT: &str = "
name: shop
repository: { url: ../store, keys: { backup: { file: ~/writer.key }, read: { credential: drill } } }
copies: [ { name: offsite, url: \"s3://off/shop\", password: { file: off.txt }, credentials: { profile: off } } ]
sources:
  tree: { files: { paths: [ tree/, /srv ] }, accept: { unreadable: [ tree/lost+found ] } }
  db: { postgres: { url: \"postgres://b@db\", passfile: ~/pgpass } }
drill: { scratch: { path: scratch } }
heartbeat: { url: { env: BEAT } }
";

    fn policy() -> Policy {
        let mut policy: Policy = serde_saphyr::from_str(TEXT).unwrap();
        policy.settle(Path::new("/etc/holdfast"), Some(Path::new("/root")));
        policy
    }

    #[test]
    fn paths_count_from_the_file_or_the_home() {
        let policy = policy();
        assert_eq!(policy.repository.url, "/etc/holdfast/../store");
        assert_eq!(policy.copies[0].url, "s3://off/shop");
        assert_eq!(policy.copies[0].password, Some(SecretRef::File("/etc/holdfast/off.txt".into())));
        let tree = policy.sources.get("tree").unwrap();
        let paths = &tree.files.as_ref().unwrap().paths;
        // A slash at the end means what a link points to.
        assert_eq!(
            paths.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(),
            ["/etc/holdfast/tree/", "/srv"]
        );
        assert_eq!(tree.accept.as_ref().unwrap().unreadable, ["/etc/holdfast/tree/lost+found"]);
        let db = policy.sources.get("db").unwrap().postgres.as_ref().unwrap();
        assert_eq!(db.passfile.as_deref(), Some(Path::new("/root/pgpass")));
        assert_eq!(policy.drill.unwrap().scratch.path.as_deref(), Some(Path::new("/etc/holdfast/scratch")));
    }

    #[test]
    fn a_profile_stands_in_the_url() {
        let profile = Credentials::Profile("off".into());
        let with = |url: &str| with_profile(url, Some(&profile));
        assert_eq!(with("s3://b/p"), "s3://b/p?profile=off");
        assert_eq!(with("s3://b?endpoint=http://h:1"), "s3://b?endpoint=http://h:1&profile=off");
        assert_eq!(with("s3://b?"), "s3://b?profile=off");
        assert_eq!(with("s3://b?profile=mine"), "s3://b?profile=mine");
        assert_eq!((with("/r"), with_profile("s3://b", None)), ("/r".into(), "s3://b".into()));
        assert_eq!(policy().place("offsite", Activity::Read).unwrap().address(), "s3://off/shop?profile=off");
    }

    #[test]
    fn each_activity_has_its_key_and_a_missing_one_is_not_for_this_host() {
        let policy = policy();
        let opens = |name, activity| policy.place(name, activity).map(|place| place.opens);
        let key = Opens::Key(KeyRef::File("/root/writer.key".into()));
        assert_eq!(opens(REPOSITORY, Activity::Backup), Some(key));
        assert_eq!(opens(REPOSITORY, Activity::Maintain), None);
        assert_eq!(opens(REPOSITORY, Activity::Read), Some(Opens::Key(KeyRef::Credential("drill".into()))));
        for activity in [Activity::Backup, Activity::Maintain, Activity::Read] {
            assert!(matches!(opens("offsite", activity), Some(Opens::Password(_))), "{activity:?}");
        }
        assert_eq!(opens("nowhere", Activity::Read), None);
        assert_eq!(policy.places().collect::<Vec<_>>(), [REPOSITORY, "offsite"]);
        assert_eq!(policy.label("db"), "shop/db");
    }
}
