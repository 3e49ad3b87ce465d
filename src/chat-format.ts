/** @file Conversations: the messages that the chat template turns into tokens. */

/** One turn of a conversation. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** A conversation, oldest message first; `category` groups conversations in reports. */
export interface Conversation {
  readonly messages: readonly Message[];
  readonly category?: string;
}
