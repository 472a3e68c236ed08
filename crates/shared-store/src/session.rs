//! What is said to the server, over connections that are there.
//!
//! A value is believed only while the set of its group lists it: a get asks for both. So one command,
//! which removes the set, forgets the group whole, even if the values themselves outlive it for a moment;
//! and a set that the server evicted hides its values rather than losing count of them.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, ServerError, Value, cmd, pipe,
};
use rustls::crypto::ring;

use crate::Digest;
use crate::names::{CHANNEL, Name, Names, SALT, Salt};
use crate::queue::{Put, Removal};
use crate::value::{self, HEADER};

/// Values that one command removes.
const CHUNK: usize = 512;

/// Times longer than this are cut to it: Redis refuses those that overflow.
const LONGEST_KEEP: Duration = Duration::from_secs(366 * 24 * 3600);

/// The connections, and the salt that was found on them.
///
/// Gets have one of their own, so that they never stand behind a long value that is written.
#[derive(Clone)]
pub(crate) struct Session {
    reads: MultiplexedConnection,
    writes: MultiplexedConnection,
    pub(crate) names: Names,
}

/// The connection on which other nodes are heard.
pub(crate) struct Ears {
    mouth: PubSubSink,
    pub(crate) messages: PubSubStream,
}

/// Why the server is of no use. It holds nothing that the server said, but a code such as `LOADING`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{0}")]
    Redis(String),
    #[error("it did not answer in time")]
    Late,
    #[error("it answered what was not asked")]
    Nonsense,
    #[error("it is older than Redis 7")]
    TooOld,
    #[error("it closed the connection")]
    Closed,
}

/// What a get found.
pub(crate) enum Found {
    /// With its header.
    Stored(Vec<u8>),
    Nothing,
    /// What is there is of a type that we do not write.
    Foreign,
}

impl Session {
    pub(crate) async fn open(client: &Client) -> Result<(Self, Ears), Trouble> {
        // Every wait is bounded where it is made.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut reads = client.get_multiplexed_async_connection_with_config(&config).await?;
        let writes = client.get_multiplexed_async_connection_with_config(&config).await?;
        let (mut mouth, messages) = client.get_async_pubsub().await?.split();
        mouth.subscribe(CHANNEL).await?;
        try_expire_options(&mut reads).await?;
        let names = Names::new(agree_on_salt(&mut reads).await?);
        Ok((Self { reads, writes, names }, Ears { mouth, messages }))
    }

    /// Whether all connections answer what they are asked; and whether the salt is still the same.
    pub(crate) async fn check(&self, ears: &mut Ears) -> Result<bool, Trouble> {
        let (mut reads, mut writes) = (self.reads.clone(), self.writes.clone());
        let pong = writes.send_packed_command(&cmd("PING")).await?;
        if pong != Value::SimpleString("PONG".to_owned()) {
            return Err(trouble(pong));
        }
        ears.mouth.ping::<Value>().await?;
        Ok(self.names.has(&agree_on_salt(&mut reads).await?))
    }

    /// Asks for a value and whether its group lists it, for so many bytes of it and no more.
    pub(crate) async fn get(
        &self,
        group: &Name,
        value: &Name,
        largest: usize,
    ) -> Result<Found, Trouble> {
        let mut question = pipe();
        question.cmd("SISMEMBER").arg(group.key()).arg(&value.0);
        // Counted from 0, both ends included.
        question.cmd("GETRANGE").arg(value.key()).arg(0).arg(HEADER + largest - 1);
        let mut reads = self.reads.clone();
        let answers = reads.send_packed_commands(&question, 0, 2).await?;
        let [listed, stored] = <[Value; 2]>::try_from(answers).map_err(|_| Trouble::Nonsense)?;
        match (listed, stored) {
            (Value::ServerError(error), _) | (_, Value::ServerError(error)) if is_type(&error) => {
                Ok(Found::Foreign)
            }
            (Value::Int(0), Value::BulkString(_)) => Ok(Found::Nothing),
            // An empty range: there is none.
            (Value::Int(1), Value::BulkString(stored)) if stored.is_empty() => Ok(Found::Nothing),
            (Value::Int(1), Value::BulkString(stored)) => Ok(Found::Stored(stored)),
            (error @ Value::ServerError(_), _) | (_, error) => Err(trouble(error)),
        }
    }

    /// Stores values, each together with its place in the set of its group, or none of them.
    pub(crate) async fn put(&self, puts: &[Put]) -> Result<(), Trouble> {
        let mut transaction = pipe();
        transaction.atomic();
        puts.iter().for_each(|put| self.add(&mut transaction, put));
        let answers = self.execute(&transaction).await?;
        let mut foreign = Vec::new();
        let mut refused = None;
        for (put, answers) in puts.iter().zip(answers.chunks(COMMANDS_OF_PUT)) {
            let error = answers.iter().find(|answer| is_error(answer));
            if error.is_some_and(is_type_answer) {
                foreign.push(self.names.group(&put.group).key());
            }
            refused = refused.or(error);
        }
        self.unlink(&foreign).await?;
        refused.map_or(Ok(()), |error| Err(trouble(error.clone())))
    }

    fn add(&self, transaction: &mut Pipeline, put: &Put) {
        let group = self.names.group(&put.group).key();
        let name = self.names.value(&put.group, &put.key);
        let keep = put.keep.min(LONGEST_KEEP).as_millis().max(1) as u64;
        let stored = [&value::header(&name, &put.value)[..], &put.value].concat();
        transaction.cmd("SADD").arg(&group).arg(&name.0);
        // The set lives as long as what lives longest in it: the first for a new set, the second for others.
        transaction.cmd("PEXPIRE").arg(&group).arg(keep).arg("NX");
        transaction.cmd("PEXPIRE").arg(&group).arg(keep).arg("GT");
        transaction.cmd("SET").arg(name.key()).arg(stored).arg("PX").arg(keep);
    }

    /// Removes, and tells the other nodes of a group.
    pub(crate) async fn remove(&self, removal: &Removal, node: &[u8; 16]) -> Result<(), Trouble> {
        match removal {
            Removal::Group(group) => self.forget(group, node).await,
            Removal::Value { group, key } => self.remove_value(group, key).await,
        }
    }

    async fn remove_value(&self, group: &Digest, key: &Digest) -> Result<(), Trouble> {
        let (group, name) = (self.names.group(group).key(), self.names.value(group, key));
        let mut commands = pipe();
        commands.cmd("UNLINK").arg(name.key());
        commands.cmd("SREM").arg(&group).arg(&name.0);
        let answers = self.removing(&commands).await?;
        match answers.into_iter().find(is_error) {
            Some(error) if is_type_answer(&error) => self.unlink(&[group]).await,
            Some(error) => Err(trouble(error)),
            None => Ok(()),
        }
    }

    async fn forget(&self, group: &Digest, node: &[u8; 16]) -> Result<(), Trouble> {
        let told = Heard { group: *group, name: self.names.group(group) };
        let set = told.name.key();
        let mut commands = pipe();
        commands.cmd("SMEMBERS").arg(&set);
        commands.cmd("UNLINK").arg(&set);
        commands.cmd("PUBLISH").arg(CHANNEL).arg(&message(&told, node)[..]);
        let mut answers = self.removing(&commands).await?.into_iter();
        let members = answers.next().ok_or(Trouble::Nonsense)?;
        if let Some(error) = answers.find(is_error) {
            return Err(trouble(error));
        }
        // The group is forgotten: from here on it is about memory alone.
        for chunk in keys_of(members).chunks(CHUNK) {
            self.unlink(chunk).await?;
        }
        Ok(())
    }

    /// No transaction, since a server that is full refuses what is in one, removals too. None is needed: a
    /// value that another node puts in between is one that its group does not list.
    async fn removing(&self, commands: &Pipeline) -> Result<Vec<Value>, Trouble> {
        Ok(self.writes.clone().send_packed_commands(commands, 0, commands.len()).await?)
    }

    async fn unlink(&self, keys: &[String]) -> Result<(), Trouble> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut command = Cmd::new();
        command.arg("UNLINK").arg(keys);
        match self.writes.clone().send_packed_command(&command).await? {
            Value::Int(_) => Ok(()),
            other => Err(trouble(other)),
        }
    }

    /// A transaction's answers, one for each of its commands.
    async fn execute(&self, transaction: &Pipeline) -> Result<Vec<Value>, Trouble> {
        let commands = transaction.len();
        // Behind the `OK` of MULTI and a `QUEUED` for each.
        let mut writes = self.writes.clone();
        let mut answers = writes.send_packed_commands(transaction, commands + 1, 1).await?;
        match answers.pop() {
            Some(Value::Array(answers)) if answers.len() == commands => Ok(answers),
            Some(other) => Err(trouble(other)),
            None => Err(Trouble::Nonsense),
        }
    }
}

/// What `Session::add` writes for each.
const COMMANDS_OF_PUT: usize = 4;

/// Options of EXPIRE, which puts need, came with Redis 7.
async fn try_expire_options(connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
    let mut question = cmd("PEXPIRE");
    question.arg("lightbox:nothing").arg(1).arg("NX");
    match connection.send_packed_command(&question).await? {
        Value::ServerError(error) if error.code() == "ERR" => Err(Trouble::TooOld),
        // A replica, say, which can be read all the same.
        Value::Int(_) | Value::ServerError(_) => Ok(()),
        other => Err(trouble(other)),
    }
}

/// The salt that is there, or one that we leave there.
async fn agree_on_salt(connection: &mut MultiplexedConnection) -> Result<Salt, Trouble> {
    let mut question = pipe();
    question.cmd("SET").arg(SALT).arg(&random::<32>()?[..]).arg("NX");
    question.cmd("GET").arg(SALT);
    // A full server refuses the first, but may well answer the second.
    let answer = connection.send_packed_commands(&question, 0, 2).await?.pop();
    match answer.ok_or(Trouble::Nonsense)? {
        Value::BulkString(salt) => Salt::try_from(salt).map_err(|_| Trouble::Nonsense),
        other => Err(trouble(other)),
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random<const BYTES: usize>() -> Result<[u8; BYTES], Trouble> {
    let mut bytes = [0; BYTES];
    let filled = ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| Trouble::Redis("the system gives no random bytes".to_owned()))?;
    Ok(bytes)
}

/// The keys of a set's members: of ours alone, should it hold others.
fn keys_of(members: Value) -> Vec<String> {
    let (Value::Array(members) | Value::Set(members)) = members else { return Vec::new() };
    let names = members.into_iter().filter_map(|member| match member {
        Value::BulkString(member) => member.try_into().ok().map(Name),
        _ => None,
    });
    names.map(|name| name.key()).collect()
}

const MESSAGE_VERSION: u8 = 1;

/// What nodes tell each other.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) group: Digest,
    /// What the group is called by the one who forgot it: who calls it otherwise has a salt that is out of
    /// date, or knows the newer one.
    pub(crate) name: Name,
}

/// Version, sender, name of the group, group.
fn message(heard: &Heard, node: &[u8; 16]) -> Vec<u8> {
    [&[MESSAGE_VERSION][..], node, &heard.name.0, &heard.group].concat()
}

/// What another node has forgotten.
pub(crate) fn heard(message: &[u8], own: &[u8; 16]) -> Option<Heard> {
    let rest = message.strip_prefix(&[MESSAGE_VERSION])?;
    let (node, rest) = rest.split_first_chunk::<16>()?;
    let (name, group) = rest.split_first_chunk::<{ Name::BYTES }>()?;
    let group = group.try_into().ok()?;
    (node != own).then_some(Heard { group, name: Name(*name) })
}

fn is_type(error: &ServerError) -> bool {
    error.code() == "WRONGTYPE"
}

fn is_error(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(_))
}

fn is_type_answer(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if is_type(error))
}

fn trouble(answer: Value) -> Trouble {
    match answer {
        Value::ServerError(error) => Trouble::Redis(said(Some(error.code()), "an error")),
        _ => Trouble::Nonsense,
    }
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        // These come from the system and from TLS, and tell no more than where and why.
        match error.is_io_error() {
            true => Self::Redis(error.to_string()),
            false => Self::Redis(said(error.code(), error.category())),
        }
    }
}

/// A code is the first word of what a server says. Of one that talks nonsense it may be anything.
fn said(code: Option<&str>, otherwise: &str) -> String {
    let is_code =
        |code: &&str| code.len() <= 16 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    let code = code.filter(is_code);
    code.map_or(otherwise.to_owned(), |code| format!("it answers {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_heard_by_others_alone_and_nonsense_by_nobody() {
        let told = Heard { group: [1; 32], name: Name([4; 16]) };
        let said = message(&told, &[2; 16]);
        assert_eq!(heard(&said, &[3; 16]), Some(told));
        assert_eq!(heard(&said, &[2; 16]), None);
        for length in 0..said.len() {
            assert_eq!(heard(&said[..length], &[3; 16]), None);
        }
        assert_eq!(heard(&[said, vec![0]].concat(), &[3; 16]), None);
        assert_eq!(heard(&[9; 65], &[3; 16]), None);
    }

    #[test]
    fn only_names_of_ours_are_removed_with_a_group() {
        let members = vec![
            Value::BulkString(vec![0; 16]),
            Value::BulkString(b"somebody-else".to_vec()),
            Value::Int(1),
        ];
        assert_eq!(keys_of(Value::Array(members)), [Name([0; 16]).key()]);
        assert!(keys_of(Value::Nil).is_empty());
    }

    #[test]
    fn of_what_a_server_says_only_codes_are_told() {
        assert_eq!(said(Some("LOADING"), "x"), "it answers LOADING");
        assert_eq!(said(Some("hunter2"), "an error"), "an error");
        assert_eq!(said(None, "an error"), "an error");
    }
}
