//! Being let in: a password is proved, never shown, unless the way is protected.
//!
//! On purpose not here: Kerberos, LDAP's own ways, client certificates.

use super::connection::Connection;
use super::message::Asked;
use crate::error::PgError;
use crate::passfile::Secrets;
use crate::url::{Binding, Server};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use zeroize::Zeroizing;

/// What a proof can be bound to.
pub(super) struct Bound {
    pub encrypted: bool,
    pub end_point: Option<Vec<u8>>,
}

/// Answers what the server asks until it is content.
pub(super) async fn convince(
    connection: &mut Connection,
    server: &Server,
    secrets: &Secrets,
    bound: Bound,
) -> Result<(), PgError> {
    let asked = connection.asked().await?;
    let must_bind = server.binding == Binding::Require;
    if must_bind && !matches!(asked, Asked::Sasl(_)) {
        return Err(unbound());
    }
    match asked {
        Asked::Nothing => return Ok(()),
        Asked::Cleartext => {
            if !bound.encrypted && !connection.host.is_socket() {
                let what = "the server asks for the password in clear on a way that is not encrypted: it is not \
                            sent; state sslmode=verify-full, or let pg_hba.conf ask for scram-sha-256";
                return Err(PgError::Refused(what.to_owned()));
            }
            let password = password(connection, server, secrets)?;
            connection.say(|out| frontend::password_message(&password, out)).await?;
        }
        Asked::Md5(salt) => {
            let password = password(connection, server, secrets)?;
            let hash = Zeroizing::new(md5_hash(server.user.as_bytes(), &password, salt));
            connection.say(|out| frontend::password_message(hash.as_bytes(), out)).await?;
        }
        Asked::Sasl(mechanisms) => scram(connection, server, secrets, bound, &mechanisms).await?,
        other => return Err(strange(&other)),
    }
    match connection.asked().await? {
        Asked::Nothing => Ok(()),
        other => Err(strange(&other)),
    }
}

async fn scram(
    connection: &mut Connection,
    server: &Server,
    secrets: &Secrets,
    bound: Bound,
    mechanisms: &[String],
) -> Result<(), PgError> {
    let offers = |name: &str| mechanisms.iter().any(|mechanism| mechanism == name);
    let wanted = server.binding != Binding::Disable;
    let (mechanism, binding) = match bound.end_point {
        Some(hash) if wanted && offers(SCRAM_SHA_256_PLUS) => {
            (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash))
        }
        _ if server.binding == Binding::Require => return Err(unbound()),
        // We could, and the server says that it cannot: it will notice if somebody else said that.
        Some(_) if wanted && offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        _ if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        _ => {
            let what =
                format!("the server wants to be convinced by {}, which is not known", mechanisms.join(", "));
            return Err(PgError::Refused(what));
        }
    };
    let password = password(connection, server, secrets)?;
    let mut scram = ScramSha256::new(&password, binding);
    connection.say(|out| frontend::sasl_initial_response(mechanism, scram.message(), out)).await?;
    let Asked::SaslContinue(challenge) = connection.asked().await? else {
        return Err(PgError::protocol("no challenge follows"));
    };
    let odd = |error: std::io::Error| PgError::protocol(format!("SCRAM: {error}"));
    scram.update(&challenge).map_err(odd)?;
    connection.say(|out| frontend::sasl_response(scram.message(), out)).await?;
    let Asked::SaslFinal(proof) = connection.asked().await? else {
        return Err(PgError::protocol("the server does not prove that it knows the password"));
    };
    scram.finish(&proof).map_err(odd)
}

fn password(
    connection: &Connection,
    server: &Server,
    secrets: &Secrets,
) -> Result<Zeroizing<Vec<u8>>, PgError> {
    let database = connection.purpose.database();
    secrets.password_for(&connection.host, database, &server.user).ok_or_else(|| {
        PgError::Refused(format!(
            "the server at {} asks for a password of {}, and there is none: set PGPASSFILE, write the line \
             {}:{}:{database}:{}:PASSWORD into ~/.pgpass (mode 0600), or set PGPASSWORD",
            connection.host, server.user, connection.host.name, connection.host.port, server.user
        ))
    })
}

fn unbound() -> PgError {
    let what = "channel_binding=require, and the login cannot be bound to the encrypted way: the server has to \
                have ssl = on and ask for scram-sha-256, and sslmode must not be disable";
    PgError::Refused(what.to_owned())
}

fn strange(asked: &Asked) -> PgError {
    let what = match asked {
        Asked::Other(7..=9) => "Kerberos, which is not in this version".to_owned(),
        Asked::Other(kind) => format!("kind {kind}"),
        _ => return PgError::protocol("a step of the login that does not follow"),
    };
    PgError::Refused(format!(
        "the server wants to be convinced by {what}: let pg_hba.conf ask for scram-sha-256"
    ))
}
